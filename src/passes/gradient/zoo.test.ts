import { expect, test } from "vitest";
import { Random } from "../../base/random.ts";
import type { Graph } from "../../graph/graph.ts";
import { float32, float32Values, hasBytes, int64, type Tensor } from "../../graph/tensor.ts";
import { zoo } from "../../nn/models/index.ts";
import { buildNet } from "../../nn/net.ts";
import { modelOf } from "../../onnx/onnx-model.ts";
import { encodeModel } from "../../onnx/write.ts";
import { type ExportForm, exportModel } from "../../runtime/export.ts";
import { inProcessRunner } from "../../runtime/in-process.ts";
import type { Session, Tensors } from "../../runtime/runner.ts";
import { withGradients } from "./with-gradients.ts";

// A network has the same gradients as it was built, with its layers as functions, and as the runtime rewrites
// it, with fused ops. One network of each kind; all of them have been compared.

const NETWORKS = [
  ...["starter", "resnet50", "densenet121", "efficientnet-b0", "convnext-tiny", "squeezenet-1.1"],
  ...["highway-mlp", "vit-b-16", "bert-base"],
];

/**
 * A small network of the zoo whose weights are all different: the runtime keeps one of those that are equal,
 * and its gradient is then the sum of theirs.
 */
function network(name: string): Graph {
  const model = zoo[name]?.small;
  if (model === undefined) throw new Error(`the zoo has a small ${name}`);
  const graph = buildNet(model.build(), { input: model.input, output: "y", seed: 1 });
  const random = new Random(4);
  const initializers = new Map(
    [...graph.initializers].map(([key, ref]) => {
      if (ref.dtype !== "float32" || ref.shape.length === 0 || !hasBytes(ref)) return [key, ref];
      const moved = float32Values(ref).map((v) => v + 0.02 * random.uniform());
      return [key, float32(ref.shape, moved)];
    }),
  );
  return { ...graph, initializers };
}

function feeds(session: Session): Tensors {
  const random = new Random(5);
  return new Map(
    [...session.inputs].map(([name, { dtype, shape = [] }]): [string, Tensor] => {
      const sizes = shape.map((dim) => (typeof dim === "number" ? dim : 2));
      const count = sizes.reduce((a, b) => a * b, 1);
      const list = (next: () => number): number[] => Array.from({ length: count }, next);
      if (dtype === "int64")
        return [
          name,
          int64(
            sizes,
            list(() => random.integer(2)),
          ),
        ];
      return [
        name,
        float32(
          sizes,
          list(() => random.normal()),
        ),
      ];
    }),
  );
}

/** The loss, and the gradients of all weights of more than one number: others are constants, which are shared. */
async function gradientsOf(
  graph: Graph,
  form: ExportForm,
): Promise<ReadonlyMap<string, Float32Array>> {
  const model = await exportModel(graph, form);
  const made = withGradients(model.graph, { loss: { kind: "mse" } });
  const bytes = encodeModel(modelOf(made.graph));
  await using session = await inProcessRunner().load({ bytes });
  const found = await session.run(feeds(session));
  const names = [made.loss, ...made.gradients.values()];
  return new Map(
    names.flatMap((name) => {
      const value = found.get(name);
      const isCompared = value !== undefined && (name === made.loss || value.shape.length > 0);
      return isCompared ? [[name, float32Values(value)]] : [];
    }),
  );
}

function largestOf(values: Float32Array): number {
  return values.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
}

test.each(NETWORKS)("%s has the same gradients in every form", async (name) => {
  const graph = network(name);
  const plain = await gradientsOf(graph, { form: "plain" });
  const largest = Math.max(...[...plain.values()].map(largestOf));
  for (const form of ["functions", "optimized"] as const) {
    const found = await gradientsOf(graph, { form });
    // The runtime folds norms into convolutions, whose weights have other names then.
    if (form === "functions") expect([...found.keys()]).toEqual([...plain.keys()]);
    for (const [key, values] of plain) {
      const other = found.get(key);
      if (other === undefined) continue;
      const scale = Math.max(1e-4 * largest, largestOf(values));
      const worst = largestOf(values.map((v, i) => v - (other[i] ?? Number.NaN)));
      expect(worst / scale, `${form}: ${key}`).toBeLessThan(1e-3);
    }
  }
});
