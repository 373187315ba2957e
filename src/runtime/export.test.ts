import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { sampleOf } from "../../test/sample.ts";
import { census } from "../analysis/census.ts";
import type { Graph } from "../graph/graph.ts";
import { tensorsOf } from "../graph/map-tensors.ts";
import { float32Values } from "../graph/tensor.ts";
import * as nn from "../nn/index.ts";
import { zoo } from "../nn/models/index.ts";
import type { Model } from "../onnx/model.ts";
import { loadModel } from "../onnx/read.ts";
import { encodeModel } from "../onnx/write.ts";
import { verify } from "../ops/verify.ts";
import { type ExportOptions, exportModel } from "./export.ts";
import { inProcessRunner } from "./in-process.ts";
import type { Session, Tensors } from "./runner.ts";

const BATCH = 2;

interface Network {
  readonly layer: nn.Layer;
  readonly input: nn.NetInput;
}

const image: nn.NetInput = { name: "x", shape: [4, 8, 8] };

const sequence: nn.NetInput = { name: "x", shape: [6, 8] };

const around = (branch: nn.Layer) => nn.add(nn.identity(), nn.sequential(nn.layerNorm(), branch));

/** A head of attention, and the layers of a transformer around it. */
const attention = nn.layer("attention", (net, x) => {
  const [q, k, v] = ["query", "key", "value"].map((name) =>
    net.inside(nn.named(name, nn.dense(8, { bias: false })), x),
  );
  const scores = net.emit("MatMul", [q ?? x, net.inside(nn.transpose(0, 2, 1), k ?? x)]);
  const mixed = net.emit("MatMul", [net.inside(nn.softmax(-1), scores), v ?? x]);
  return net.inside(nn.dense(8), mixed);
});

const mlp = nn.sequential(nn.dense(16), nn.gelu(), nn.dense(8));

const scaled = nn.layer("scaled", (net, x) => {
  const y = net.emit("Mul", [x, net.input("scale", ["N", 1, 1, 1])]);
  net.output("pooled", net.inside(nn.globalPool(), y));
  return net.inside(nn.residual(4), y);
});

const convs = (channels = 4) =>
  nn.sequential(nn.conv(channels, 3), nn.relu(), nn.conv(channels, 3));
const stem = nn.conv(4, 3);

/** Blocks over images of four channels, by name. */
const blocks: Readonly<Record<string, nn.Layer>> = {
  "no skips": convs(),
  projections: nn.sequential(nn.residual(4), nn.residual(8, { stride: 2 })),
  "dense block": nn.sequential(nn.denseBlock(3, { growth: 4 }), nn.transition()),
  "inverted residuals": nn.sequential(
    nn.invertedResidual(4, { squeeze: 4, activation: nn.silu }),
    nn.invertedResidual(4),
  ),
  highway: nn.sequential(nn.highway(convs()), nn.highway(convs())),
  "gated residual": nn.gatedResidual(convs()),
  conditional: nn.sequential(nn.conditional(convs()), nn.conv(2, 1)),
  recurrent: nn.recurrentResidual(3, convs()),
  "split channels": nn.split(2, 1, nn.identity(), convs(2)),
  "U-Net": nn.unetLevel(nn.conv(8, 3), {
    encode: convs(),
    down: nn.maxPool(2),
    up: nn.convTranspose(4, 2, { stride: 2 }),
  }),
};

const networks = new Map<string, Network>([
  ...Object.entries(blocks).map(([name, block]): [string, Network] => [
    name,
    { layer: nn.sequential(stem, block), input: image },
  ]),
  [
    "transformer",
    {
      layer: nn.sequential(
        nn.embedding(16, 8),
        ...[1, 2].flatMap(() => [around(attention), around(mlp)]),
        nn.layerNorm(),
        nn.dense(16),
      ),
      input: { name: "tokens", shape: ["S"], dtype: "int64" },
    },
  ],
  ["parallel", { layer: nn.add(nn.identity(), attention, mlp), input: sequence }],
  [
    "sequence",
    {
      layer: nn.sequential(
        nn.conv1d(4, 3),
        nn.add(nn.identity(), nn.conv1d(4, 3, { dilation: 2, padding: [4, 0] })),
      ),
      input: { name: "x", shape: [2, "T"] },
    },
  ],
  [
    "hyper-connections of constants",
    { layer: nn.hyperConnections([mlp, mlp], { dynamic: false }), input: sequence },
  ],
  ["attention residuals", { layer: nn.attentionResiduals([mlp, mlp, mlp]), input: sequence }],
  ["two ends", { layer: nn.sequential(nn.conv(4, 3), scaled), input: image }],
]);

/** One model of each family of the zoo: what stands before the first number in its name. */
const families = new Map<string, [string, Network]>();
for (const [name, { small }] of Object.entries(zoo)) {
  const family = name.replace(/\d.*/, "");
  if (small === undefined || families.has(family)) continue;
  families.set(family, [name, { layer: small.build(), input: small.input }]);
}

function build({ layer, input }: Network): Graph {
  return nn.buildNet(layer, { input, output: "y", seed: 1 });
}

async function answersOf(model: Model, feeds: Tensors): Promise<Map<string, number[]>> {
  return answers(await inProcessRunner().load({ bytes: encodeModel(model) }), feeds);
}

async function answers(session: Session, feeds: Tensors): Promise<Map<string, number[]>> {
  const found = await session.run(feeds);
  await session.close();
  return new Map(
    [...found].flatMap(([name, t]) =>
      t.dtype === "float32" ? [[name, [...float32Values(t)]] as const] : [],
    ),
  );
}

/** Root mean square of the difference, in units of the root mean square of what should be. */
function relative(found: readonly number[] = [], expected: readonly number[]): number {
  expect(found).toHaveLength(expected.length);
  const square = (values: readonly number[]): number => values.reduce((a, v) => a + v * v, 0);
  const difference = expected.map((v, i) => v - (found[i] ?? Number.NaN));
  return Math.sqrt(square(difference) / Math.max(square(expected), 1e-12));
}

/** Of rounding, after some dozen layers; one that saturates or has a wrong scale is off by more. */
const NOISE = 0.15;

/** What is wrong with a graph. That the runtime has ops of its own in the domain of the standard is not. */
function faults(graph: Graph) {
  return verify(graph).filter(({ severity }) => severity !== "info");
}

/** What the census says, without the names of nodes. */
function seen(graph: Graph) {
  const { skips, counts, denseLinks } = census(graph);
  const rows = skips.map(({ kind, block, activation, norm, encoderDecoder, sign, scaled: by }) =>
    [kind, block, activation, norm, encoderDecoder, sign, by].join(" "),
  );
  return { rows: rows.toSorted(), counts, denseLinks };
}

describe("a file of each form", () => {
  const network = networks.get("projections");
  const graph = build(network ?? expect.unreachable());
  const sample = sampleOf(graph);
  const forms: ExportOptions[] = [
    { form: "plain" },
    { form: "functions" },
    { form: "optimized" },
    { form: "quantized", sample },
  ];

  test.each(forms)("with its weights beside it: %o", async (options) => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "model.onnx");
    const model = await exportModel(graph, options);
    await model.save(path, { externalData: { bytesMin: 16 } });
    expect((await stat(`${path}.data`)).size).toBeGreaterThan(1000);
    const kinds = tensorsOf((await loadModel(path)).graph).map((ref) => ref.data.kind);
    expect(kinds).toContain("external");
    const parted = await inProcessRunner().load({ path });
    expect(await answers(parted, sample)).toEqual(await answersOf(model, sample));
  });

  test("the runtime's own form has ops of its own, and no layout of one machine", async () => {
    const { nodes, opsets } = (await exportModel(graph, { form: "optimized" })).graph;
    const domains = new Set(nodes.map((node) => node.domain));
    expect(nodes.map((node) => node.op)).toContain("FusedConv");
    expect([...domains].toSorted()).toEqual(["", "com.microsoft"]);
    expect(opsets.get("com.microsoft")).toBe(1);
  });
});

async function temporaryFolder() {
  const path = await mkdtemp(join(tmpdir(), "skipway-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

describe.each([...networks])("%s", (_name, network) => {
  const graph = build(network);
  const feeds = sampleOf(graph);
  const skips = seen(graph);
  let plain: ReadonlyMap<string, number[]> = new Map();
  beforeAll(async () => {
    plain = await answersOf(await exportModel(graph), feeds);
  });
  const forms: [string, ExportOptions, number][] = [
    ["functions", { form: "functions" }, 0],
    ["optimized", { form: "optimized" }, 1e-4],
    ["quantized", { form: "quantized", sample: feeds }, NOISE],
    ["quantized to int8", { form: "quantized", sample: feeds, activations: "int8" }, NOISE],
  ];

  test.each(forms)("%s: sound, the same numbers, the same skips", async (_form, options, error) => {
    const model = await exportModel(graph, options);
    expect(faults(model.graph)).toEqual([]);
    expect(model.graph.inputs[0]?.shape?.[0]).toBe("N");
    expect(seen(model.graph)).toEqual(skips);
    const fixed = await exportModel(graph, { ...options, batch: BATCH });
    expect(faults(fixed.graph)).toEqual([]);
    expect(fixed.graph.inputs[0]?.shape?.[0]).toBe(BATCH);
    expect(seen(fixed.graph)).toEqual(skips);
    for (const found of [await answersOf(model, feeds), await answersOf(fixed, feeds)]) {
      for (const [name, values] of plain) {
        expect(relative(found.get(name), values)).toBeLessThanOrEqual(error);
      }
    }
  });
});

// Rounded, the norm from which the matrices are computed is not the first node behind the streams.
test.each(["functions", "optimized", "quantized"] as const)(
  "hyper-connections whose matrices are computed, %s: the same skips",
  async (form) => {
    const graph = build({ layer: nn.hyperConnections([mlp, mlp]), input: sequence });
    const model = await exportModel(graph, { form, sample: sampleOf(graph) });
    expect(seen(model.graph).counts).toEqual(seen(graph).counts);
    expect(seen(graph).counts).toMatchObject({ total: 2, multiStream: 2 });
  },
);

test.each([...families.values()])("%s of the zoo in all forms", async (_name, network) => {
  const graph = build(network);
  const feeds = sampleOf(graph);
  const skips = seen(graph);
  const plain = await answersOf(await exportModel(graph), feeds);
  const forms: [ExportOptions, number][] = [
    [{ form: "functions" }, 0],
    [{ form: "optimized" }, 1e-4],
    [{ form: "quantized", sample: feeds }, NOISE],
  ];
  for (const [options, error] of forms) {
    const model = await exportModel(graph, options);
    expect(faults(model.graph)).toEqual([]);
    expect(seen(model.graph), options.form).toEqual(skips);
    const found = await answersOf(model, feeds);
    for (const [name, values] of plain) {
      expect(relative(found.get(name), values), options.form).toBeLessThanOrEqual(error);
    }
  }
});
