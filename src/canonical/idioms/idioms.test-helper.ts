// A short notation for graphs with idioms, and the comparison of what two graphs compute on the runtime.

import { Random } from "../../base/random.ts";
import type { EmitOptions } from "../../graph/build.ts";
import type { Graph, Node, Value, ValueName } from "../../graph/graph.ts";
import type { Shape } from "../../graph/shape.ts";
import { float32, float32Values, hasBytes, int64, type Tensor } from "../../graph/tensor.ts";
import { modelOf } from "../../onnx/onnx-model.ts";
import { encodeModel } from "../../onnx/write.ts";
import { inProcessRunner } from "../../runtime/in-process.ts";
import { canonicalize } from "../canonical.ts";
import { TypedBuilder } from "../typed-builder.ts";

/** The newest operator set that the runtime has: macro nodes are of it. */
export const OPSET = 24;

/** Draws a graph of float32 inputs `x`, `x1`, … and one output. */
export class Sketch {
  readonly b: TypedBuilder;
  readonly #random = new Random(7);
  #inputs = 0;
  readonly opset: number;

  constructor(opset: number = OPSET) {
    this.opset = opset;
    this.b = new TypedBuilder(undefined, opset);
  }

  input(...shape: Shape): ValueName {
    const name = this.#inputs === 0 ? "x" : `x${this.#inputs}`;
    this.#inputs++;
    return this.b.input(name, "float32", shape);
  }

  op(
    op: string,
    inputs: readonly ValueName[],
    attributes: EmitOptions["attributes"] = {},
  ): ValueName {
    return this.b.emit(op, inputs, { attributes });
  }

  /** A scalar. */
  k(value: number): ValueName {
    return this.b.constant(float32([], [value]));
  }

  /** A list of integers. */
  list(...values: readonly number[]): ValueName {
    return this.b.constant(int64([values.length], values));
  }

  /** A weight of random elements between ½ and 1½. */
  w(...shape: readonly number[]): ValueName {
    const count = shape.reduce((a, b) => a * b, 1);
    return this.b.constant(
      float32(
        shape,
        Float32Array.from({ length: count }, () => 0.5 + this.#random.uniform()),
      ),
    );
  }

  /** A multiplication, addition and so on by their signs. */
  mul = (a: ValueName, b: ValueName): ValueName => this.op("Mul", [a, b]);
  add = (a: ValueName, b: ValueName): ValueName => this.op("Add", [a, b]);
  sub = (a: ValueName, b: ValueName): ValueName => this.op("Sub", [a, b]);
  div = (a: ValueName, b: ValueName): ValueName => this.op("Div", [a, b]);

  end(...outputs: readonly ValueName[]): Graph {
    for (const name of outputs) {
      const type = this.b.typeOf(name);
      this.b.output({ name, dtype: type?.dtype ?? "float32", shape: type?.shape });
    }
    return this.b.finish("sketch", new Map([["", this.opset]]));
  }
}

/** Ops of the canonical nodes, with their domain where it is not the standard one. */
export function opsOf(graph: Graph): string[] {
  return canonicalize(graph).nodes.map(({ op, domain }) =>
    domain === "" ? op : `${domain}.${op}`,
  );
}

/** The one node of that op. */
export function only(graph: Graph, op: string): Node | undefined {
  const found = graph.nodes.filter((node) => node.op === op);
  return found.length === 1 ? found[0] : undefined;
}

/** The largest difference between what two graphs give for the same random inputs. */
export async function difference(a: Graph, b: Graph): Promise<number> {
  const random = new Random(11);
  const feeds = new Map(a.inputs.map((value) => [value.name, randomTensor(value, random)]));
  const [first, second] = [await outputsOf(a, feeds), await outputsOf(b, feeds)];
  let largest = 0;
  for (const [i, values] of first.entries()) {
    const others = second[i];
    if (others?.length !== values.length) return Number.POSITIVE_INFINITY;
    values.forEach((value, at) => {
      largest = Math.max(largest, Math.abs(value - (others[at] ?? Number.NaN)));
    });
  }
  return largest;
}

function randomTensor(value: Value, random: Random): Tensor {
  const shape = (value.shape ?? []).map((dim) => (typeof dim === "number" ? dim : 2));
  const count = shape.reduce((p, dim) => p * dim, 1);
  return float32(
    shape,
    Float32Array.from({ length: count }, () => 4 * random.uniform() - 2),
  );
}

async function outputsOf(
  graph: Graph,
  feeds: ReadonlyMap<string, Tensor>,
): Promise<Float32Array[]> {
  await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
  const found = await session.run(feeds);
  return graph.outputs.map(({ name }) => {
    const value = found.get(name);
    return value !== undefined && hasBytes(value) ? float32Values(value) : new Float32Array();
  });
}
