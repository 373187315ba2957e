import { describe, expect, test } from "vitest";
import { Random } from "../../base/random.ts";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import type { Graph, ValueName } from "../../graph/graph.ts";
import { zoo } from "../../nn/models/index.ts";
import { buildNet } from "../../nn/net.ts";
import { withFunctions } from "../../passes/functions.ts";
import { planQuantization, withQuantizePairs } from "../../passes/quantize-pairs.ts";
import { exportModel } from "../../runtime/export.ts";
import { census } from "../census.ts";
import { Sketch } from "../sketch.test-helper.ts";
import { alignLevels } from "./align.ts";
import { type CensusDiff, censusDiff } from "./census-diff.ts";

function networkOf(name: string): Graph {
  const network = zoo[name]?.small;
  if (network === undefined) throw new Error(`no model ${name}`);
  return inferShapes(buildNet(network.build(), { input: network.input, output: "y", seed: 1 }));
}

/** The graph without some skips: what read the sum reads the branch, whose nodes all stay. */
function without(graph: Graph, ids: ReadonlySet<string>): Graph {
  const gone = new Map<ValueName, ValueName>();
  for (const skip of census(graph).skips.filter(({ id }) => ids.has(id))) {
    const merge = graph.nodes.find((node) => node.name === skip.merge);
    const branch = merge?.inputs.find((_, i) => i !== skip.operand);
    gone.set(merge?.outputs[0] ?? "", branch ?? "");
  }
  const nameOf = (name: ValueName): ValueName => {
    let found = name;
    for (let next = gone.get(found); next !== undefined; next = gone.get(found)) found = next;
    return found;
  };
  const nodes = graph.nodes
    .filter((node) => !gone.has(node.outputs[0] ?? ""))
    .map((node) => ({ ...node, inputs: node.inputs.map(nameOf) }));
  return { ...graph, nodes };
}

/** The graph with other names for all that has one. */
function renamed(graph: Graph): Graph {
  const fixed = new Set([...graph.inputs, ...graph.outputs].map(({ name }) => name));
  const nameOf = (name: ValueName): ValueName =>
    name === "" || fixed.has(name) ? name : `other.${name}`;
  const entries = <T>(map: ReadonlyMap<ValueName, T>) =>
    new Map([...map].map(([name, known]) => [nameOf(name), known]));
  return {
    ...graph,
    initializers: entries(graph.initializers),
    values: new Map(
      [...graph.values].map(([name, value]) => [nameOf(name), { ...value, name: nameOf(name) }]),
    ),
    nodes: graph.nodes.map((node, i) => ({
      ...node,
      name: `n${i}`,
      inputs: node.inputs.map(nameOf),
      outputs: node.outputs.map(nameOf),
    })),
  };
}

function ids(diff: CensusDiff): { removed: string[]; added: string[]; changed: string[] } {
  return {
    removed: diff.removed.map(({ id }) => id),
    added: diff.added.map(({ id }) => id),
    changed: diff.changed.map(({ before }) => before.id),
  };
}

const NOTHING = { removed: [], added: [], changed: [] };
const NAMES = ["starter", "resnet50", "densenet121", "gpt-2"];

describe.each(NAMES)("%s", (name) => {
  const graph = networkOf(name);
  const { skips } = census(graph);

  test("does not differ from itself, under other names or with its layers as functions", () => {
    expect(skips.length).toBeGreaterThan(0);
    for (const other of [graph, renamed(graph), inferShapes(withFunctions(graph))]) {
      const diff = censusDiff(graph, other);
      expect(ids(diff)).toEqual(NOTHING);
      expect(diff).toMatchObject({ same: true, unchanged: skips.length });
    }
  });
});

describe("skips that are gone", () => {
  test.each(["starter", "resnet50"])("%s: are those, and no others", (name) => {
    const graph = networkOf(name);
    const sums = census(graph).skips.filter(({ kind }) => kind === "identity");
    const random = new Random(7);
    for (let round = 0; round < 6; round++) {
      const chosen = new Set(sums.map(({ id }) => id).filter(() => random.uniform() < 0.3));
      const less = renamed(without(graph, chosen));
      const diff = censusDiff(graph, less);
      expect(ids(diff)).toEqual({ ...NOTHING, removed: [...chosen] });
      const back = censusDiff(less, graph);
      expect(back.added.map(({ id }) => id)).toEqual([...chosen]);
      expect(back).toMatchObject({ removed: [], before: diff.after, after: diff.before });
    }
  });
});

test.each(["vit-b-16", "gpt-2", "resnet18"])(
  "%s: as the runtime rewrites it, no difference",
  async (name) => {
    const graph = networkOf(name);
    const { graph: optimized } = await exportModel(graph, { form: "optimized" });
    expect(ids(censusDiff(graph, inferShapes(optimized)))).toEqual(NOTHING);
  },
);

/** Blocks of two convolutions, each built by what is said of it. */
function blocks(...forms: readonly ((s: Sketch, x: ValueName) => ValueName)[]): Graph {
  const s = new Sketch();
  return s.end(forms.reduce((x, form) => s.op("Relu", form(s, x)), s.x));
}

const branch = (s: Sketch, x: ValueName): ValueName => s.conv(s.op("Relu", s.conv(x)));
const plain = (s: Sketch, x: ValueName): ValueName => s.op("Add", branch(s, x), x);
const projected = (s: Sketch, x: ValueName): ValueName =>
  s.op("Add", branch(s, x), s.conv(x, 8, { kernel: 1 }));
const deeper = (s: Sketch, x: ValueName): ValueName =>
  s.op("Add", s.conv(s.op("Relu", branch(s, x))), x);

describe("skips that changed", () => {
  test("the projection of the third block was dropped", () => {
    const diff = censusDiff(
      blocks(plain, plain, projected, plain),
      blocks(plain, plain, plain, plain),
    );
    expect(ids(diff)).toEqual({ ...NOTHING, changed: ["s3"] });
    expect(diff.changed[0]?.changes).toEqual([
      { field: "kind", before: "projection", after: "identity" },
    ]);
  });

  test("a block has a layer more, and those around it do not change", () => {
    const diff = censusDiff(blocks(plain, plain, plain), blocks(plain, deeper, plain));
    expect(ids(diff)).toEqual({ ...NOTHING, changed: ["s2"] });
    expect(diff.changed[0]?.changes).toEqual([{ field: "span", before: 2, after: 3 }]);
  });

  test("a block that is gone with its layers is one skip less", () => {
    const diff = censusDiff(blocks(plain, projected, plain), blocks(plain, plain));
    expect(ids(diff)).toEqual({ ...NOTHING, removed: ["s2"] });
  });

  test("merges lost their pairs of QuantizeLinear and DequantizeLinear", () => {
    const graph = blocks(plain, plain, plain);
    const plan = planQuantization(graph);
    const ranges = new Map(plan.groups.flat().map((name) => [name, { min: -1, max: 1 }]));
    const quantized = inferShapes(withQuantizePairs(plan, ranges, {}));
    expect(ids(censusDiff(quantized, quantized))).toEqual(NOTHING);
    const diff = censusDiff(quantized, graph);
    expect(diff.changed.map(({ changes }) => changes)).toEqual(
      Array.from({ length: 3 }, () => [{ field: "quantizedOperands", before: 2, after: 0 }]),
    );
    const wider = new Map(plan.groups.flat().map((name) => [name, { min: -2, max: 2 }]));
    const scaled = censusDiff(quantized, inferShapes(withQuantizePairs(plan, wider, {})));
    expect(scaled.changed.map(({ changes }) => changes.map(({ field }) => field))).toEqual(
      Array.from({ length: 3 }, () => ["scales"]),
    );
  });
});

test("long sequences are laid side by side in bounded time, and mirrored", () => {
  const random = new Random(3);
  const levels = Array.from({ length: 6000 }, () => {
    const transforms = `conv:${Math.floor(random.uniform() * 50)}`;
    return { families: "conv", transforms, merges: 0 };
  });
  const less = levels.filter((_, i) => i % 500 !== 250);
  const axis = alignLevels(levels, less);
  expect(axis.before.length).toBe(6001);
  expect(axis.before.at(-1)).toEqual(axis.after.at(-1));
  expect(axis.before.at(-1)?.column).toBe(6000);
  expect(alignLevels(less, levels)).toEqual({ before: axis.after, after: axis.before });
});
