import { describe, expect, test } from "vitest";
import { hashName, Random } from "../../src/base/random.ts";
import { TypedBuilder } from "../../src/canonical/typed-builder.ts";
import { type Graph, int, ints } from "../../src/graph/graph.ts";
import { BUILT_IN_COSTS, type KernelCosts } from "../../src/ops/kernel-costs.ts";
import { differentiate } from "../../src/passes/gradient/differentiate.ts";
import { evaluate } from "../float64/evaluate.ts";
import { GENERATORS } from "./cases/index.ts";
import { type Problem, problemOf } from "./check.ts";

// Forms of one gradient: which is taken follows from what the kernels cost, and all give the same.

const DEAR = 1e9;

/** Costs that make a form the cheapest where it is possible at all. */
const FAVOURS: Readonly<Record<string, KernelCosts>> = {
  convolution: { ...BUILT_IN_COSTS, node: DEAR, copy: 0, unrolled: 0, unrolledRun: 0 },
  "cut taps": { ...BUILT_IN_COSTS, convolution: DEAR, unrolled: DEAR, unrolledRun: DEAR },
};

function problems(op: string, count: number): Problem[] {
  return Array.from({ length: count }, (_, variant) => {
    const random = new Random(hashName(`${op} forms ${variant}`));
    const one = GENERATORS[op]?.(random, variant);
    if (one === undefined) throw new Error(`${op} has no cases`);
    return problemOf(one, random);
  });
}

function made(problem: Problem, costs: KernelCosts): { graph: Graph; gradients: Float64Array[] } {
  const { graph, gradients } = differentiate(problem.graph, {
    ...{ loss: "loss", wrt: problem.wrt, costs },
  });
  const values = evaluate(graph, problem.feeds);
  return {
    graph,
    gradients: problem.wrt.map(
      (name) => values.get(gradients.get(name) ?? "")?.values ?? new Float64Array(),
    ),
  };
}

const count = (graph: Graph, op: string): number =>
  graph.nodes.filter((node) => node.op === op).length;

/** A convolution of a picture, in the mean of its squares. */
function convolved(c: { x: number[]; w: number[]; stride?: number; group?: number }): Graph {
  const builder = new TypedBuilder();
  builder.input("x", "float32", c.x);
  builder.input("w", "float32", c.w);
  const pad = Math.floor(((c.w[2] ?? 1) - 1) / 2);
  const y = builder.emit("Conv", ["x", "w"], {
    attributes: {
      pads: ints([pad, pad, pad, pad]),
      strides: ints([c.stride ?? 1, c.stride ?? 1]),
      group: int(c.group ?? 1),
    },
  });
  builder.emit("ReduceSumSquare", [y], {
    outputs: ["loss"],
    attributes: { keepdims: int(0) },
  });
  return builder.finish("convolved", new Map([["", 20]]));
}

describe("forms of the gradient of convolution weights", () => {
  test.each(["Conv", "ConvTranspose"])("%s: all give the same", (op) => {
    const taken = { MatMul: 0, ReduceSum: 0 };
    for (const problem of problems(op, 40)) {
      const [one, other] = Object.values(FAVOURS).map((costs) => made(problem, costs));
      if (one === undefined || other === undefined) throw new Error("two forms");
      for (const [i, expected] of one.gradients.entries()) {
        const found = other.gradients[i] ?? new Float64Array();
        const scale = Math.max(1, ...expected.map(Math.abs));
        expect(found.length).toBe(expected.length);
        expect(
          Math.max(0, ...found.map((v, at) => Math.abs(v - (expected[at] ?? 0)))),
        ).toBeLessThan(1e-10 * scale);
      }
      expect(count(one.graph, "MatMul")).toBe(0);
      if (count(other.graph, "MatMul") > 0) taken.MatMul++;
      else if (count(other.graph, "ReduceSum") > count(one.graph, "ReduceSum")) taken.ReduceSum++;
    }
    expect(taken.MatMul).toBeGreaterThan(5);
    if (op === "Conv") expect(taken.ReduceSum).toBeGreaterThan(0);
  });

  test.each([
    ["1x1", { x: [64, 64, 16, 16], w: [64, 64, 1, 1] }, "MatMul"],
    ["3x3", { x: [64, 16, 32, 32], w: [16, 16, 3, 3] }, "MatMul"],
    ["7x7, stride 2", { x: [8, 3, 64, 64], w: [32, 3, 7, 7], stride: 2 }, "Conv"],
    ["depthwise 3x3", { x: [32, 64, 16, 16], w: [64, 1, 3, 3], group: 64 }, "Mul"],
    [
      "depthwise 3x3, stride 2",
      { x: [32, 96, 32, 32], w: [96, 1, 3, 3], group: 96, stride: 2 },
      "Conv",
    ],
    ["depthwise 7x7", { x: [16, 64, 14, 14], w: [64, 1, 7, 7], group: 64 }, "Conv"],
  ])("what was faster when measured is taken: %s", (_, sizes, op) => {
    const graph = convolved(sizes);
    const own = differentiate(graph, { loss: "loss", wrt: ["w"] }).graph;
    const added = own.nodes.slice(graph.nodes.length).map((node) => node.op);
    expect(added.includes("MatMul")).toBe(op === "MatMul");
    expect(added.includes("Conv")).toBe(op === "Conv");
  });
});
