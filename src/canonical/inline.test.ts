import { describe, expect, test } from "vitest";
import { sound } from "../../test/sound.ts";
import { census } from "../analysis/census.ts";
import { SkipwayError } from "../base/errors.ts";
import { float, type Graph } from "../graph/graph.ts";
import { graph } from "../graph/text.test-helper.ts";
import { canonicalize } from "./canonical.ts";
import { decideBranches } from "./decide.ts";
import { inlineFunctions } from "./inline.ts";

/** A graph of one input, one weight and one output, and the functions that it calls. */
function calling(nodes: string, functions: readonly string[]): Graph {
  return graph`
    <opset_import: ["" : 18]>
    g (float[N,4,8,8] x) => (float[] y) <float[4,4,1,1] w = {}> { ${nodes} }
    ${functions.map((one) => `<domain: "pkg", opset_import: ["" : 18]> ${one}`).join("\n")}`;
}

describe("functions", () => {
  test("stand for their nodes; names inside are the call's own, attributes are bound", () => {
    const functions = [
      "leaky <slope = 0.125> (in) => (out) { out = LeakyRelu <alpha = @slope> (in) }",
      "outer (in) => (out) { mid = pkg.leaky <slope = 0.25> (in)  out = Neg (mid) }",
    ];
    const flat = inlineFunctions(calling("a = pkg.outer (x)  y = pkg.outer (a)", functions));
    sound(flat);
    expect(flat.nodes.map((one) => one.op)).toEqual(["LeakyRelu", "Neg", "LeakyRelu", "Neg"]);
    expect(flat.nodes[0]?.attributes.get("alpha")).toEqual(float(0.25));
    expect(new Set(flat.nodes.map((one) => one.name)).size).toBe(4);
    expect(flat.nodes.at(-1)?.outputs).toEqual(["y"]);
    const plain = calling("y = pkg.leaky (x)", functions);
    expect(inlineFunctions(plain).nodes[0]?.attributes.get("alpha")).toEqual(float(0.125));
  });

  test("a call takes the overload that it names", () => {
    const made = graph`
      <opset_import: ["" : 18]>
      g (float[2] x) => (float[] y) { a = pkg.f:other (x)  y = pkg.f (a) }
      <domain: "pkg", opset_import: ["" : 18]> f (in) => (out) { out = Neg (in) }
      <domain: "pkg", overload: "other", opset_import: ["" : 18]> f (in) => (out) { out = Abs (in) }`;
    expect(sound(inlineFunctions(made)).nodes.map((one) => one.op)).toEqual(["Abs", "Neg"]);
  });

  test("a body inside a function sees the renamed values", () => {
    const made = graph`
      g (float[2] x, bool f) => (float[] y) { y = pkg.choose (x, f) }
      <domain: "pkg", opset_import: ["" : 20]>
      choose (in, flag) => (out) {
        c = Not (flag)
        out = If (c) <
          then_branch = then () => (float[] inner) { inner = Neg (in) },
          else_branch = else () => (float[] inner) { inner = Neg (in) }>
      }`;
    sound(inlineFunctions(made));
  });

  test("an input that is handed on as an output, and an output under two names", () => {
    const twin = "twin (in) => (in, out, out) { out = Neg (in) }";
    const flat = inlineFunctions(calling("a, b, c = pkg.twin (x)  y = Sum (a, b, c)", [twin]));
    sound(flat);
    expect(flat.nodes.map((one) => one.op)).toEqual(["Neg", "Identity", "Identity", "Sum"]);
    expect(flat.nodes[0]?.inputs).toEqual(["x"]);
  });

  test("a graph without functions is the same graph", () => {
    const made = calling("y = Neg (x)", []);
    expect(inlineFunctions(made)).toBe(made);
  });

  test("functions that call themselves, or that explode, are refused", () => {
    const refusal = (made: Graph): unknown => {
      try {
        return inlineFunctions(made);
      } catch (error) {
        return error instanceof SkipwayError && error.diagnostics[0]?.id;
      }
    };
    const loop = "loop (in) => (out) { out = pkg.loop (in) }";
    expect(refusal(calling("y = pkg.loop (x)", [loop]))).toBe("onnx/function-recursion");
    const bomb = ["f0 (in) => (out) { out = Neg (in) }"];
    for (let i = 1; i < 30; i++) {
      bomb.push(`f${i} (in) => (out) { mid = pkg.f${i - 1} (in)  out = pkg.f${i - 1} (mid) }`);
    }
    expect(refusal(calling("y = pkg.f29 (x)", bomb))).toBe("onnx/function-recursion");
  });

  test("a residual block in a function has the skip that it would have outside", () => {
    const block = `block (in, weight) => (out) {
      c = Conv (in, weight)  r = Relu (c)  c2 = Conv (r, weight)  out = Add (c2, in)
    }`;
    const made = calling("h = pkg.block (x, w)  y = pkg.block (h, w)", [block]);
    expect(census(made).counts).toMatchObject({ total: 2, additiveIdentity: 2 });
    expect(census(made).hazards).toEqual([]);
  });
});

/** If (rank of x == rank) then Neg(x) else Abs(x), as exporters ask whether there is a batch axis. */
function asked(rank: number): Graph {
  const branches = `
    then_branch = Abs () => (float[] inner) { inner = Abs (x) },
    else_branch = Neg () => (float[] inner) { inner = Neg (x) }`;
  return graph`
    asked (float[N,4,8,8] x) => (float[] y, float[] z) <int64 rank = {${rank}}>
    {
      s = Shape (x)
      r = Size (s)
      same = Equal (r, rank)
      differs = Not (same)
      condition = Cast <to = 9> (differs)
      y = If (condition) <${branches}>
      z = If (condition) <${branches}>
    }`;
}

describe("decided branches", () => {
  test.each([
    [4, "Neg"],
    [3, "Abs"],
  ])("a rank of %i takes %s; siblings with the same inner names do not collide", (rank, op) => {
    const decided = sound(decideBranches(asked(rank)));
    expect(decided.nodes.filter((one) => one.op === op)).toHaveLength(2);
    expect(decided.nodes.some((one) => one.op === "If")).toBe(false);
    expect(decided.values.get("y")?.shape).toEqual(["N", 4, 8, 8]);
    const canonical = sound(canonicalize(asked(rank)));
    expect(canonicalize(canonical)).toBe(canonical);
  });

  test("a condition that depends on data stays a question", () => {
    const made = asked(4);
    const inputs = [...made.inputs, { name: "condition", dtype: "bool" as const, shape: [] }];
    const nodes = made.nodes.filter((one) => !one.outputs.includes("condition"));
    expect(
      decideBranches({ ...made, inputs, nodes }).nodes.filter((one) => one.op === "If"),
    ).toHaveLength(2);
  });
});
