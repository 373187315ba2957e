import { describe, expect, test } from "vitest";
import {
  float,
  floatAttribute,
  type Graph,
  int,
  stringAttribute,
  type ValueName,
} from "../../graph/graph.ts";
import { originalsOf } from "../../graph/original.ts";
import { float32 } from "../../graph/tensor.ts";
import { canonicalize } from "../canonical.ts";
import { difference, only, opsOf, Sketch } from "./idioms.test-helper.ts";

type Draw = (s: Sketch, x: ValueName) => ValueName;

function drawn(draw: Draw): Graph {
  const s = new Sketch();
  return s.end(s.op("Neg", [draw(s, s.op("Abs", [s.input(2, 5)]))]));
}

const erf: Draw = (s, x) => s.add(s.op("Erf", [s.div(x, s.k(Math.SQRT2))]), s.k(1));
const inner = (s: Sketch, x: ValueName, cubic = 0.044715): ValueName =>
  s.mul(s.add(x, s.mul(s.k(cubic), s.op("Pow", [x, s.k(3)]))), s.k(0.7978845608));
const tanh: Draw = (s, x) => s.add(s.op("Tanh", [inner(s, x)]), s.k(1));
const relu6: Draw = (s, x) => s.op("Clip", [s.add(x, s.k(3)), s.k(0), s.k(6)]);
const swishAttributes = { alpha: float(Math.fround(1 / 6)), beta: float(0.5) };

const FIRING: readonly (readonly [string, string, Draw])[] = [
  ["GELU, x·(1+erf) by half", "Gelu", (s, x) => s.mul(s.mul(x, erf(s, x)), s.k(0.5))],
  ["GELU, half of x first", "Gelu", (s, x) => s.mul(s.mul(s.k(0.5), x), erf(s, x))],
  ["GELU, half of 1+erf", "Gelu", (s, x) => s.mul(x, s.mul(s.k(0.5), erf(s, x)))],
  [
    "GELU, a Sum of two",
    "Gelu",
    (s, x) => {
      const e = s.op("Erf", [s.mul(x, s.k(Math.SQRT1_2))]);
      return s.mul(s.mul(x, s.k(0.5)), s.op("Sum", [s.k(1), e]));
    },
  ],
  ["GELU, a quotient by two", "Gelu", (s, x) => s.div(s.mul(erf(s, x), x), s.k(2))],
  [
    "GELU, half inside the sum",
    "Gelu",
    (s, x) => {
      const phi = s.mul(s.op("Erf", [s.mul(s.k(Math.SQRT1_2), x)]), s.k(0.5));
      return s.mul(x, s.add(s.k(0.5), phi));
    },
  ],
  ["GELU by tanh", "Gelu", (s, x) => s.mul(s.mul(s.k(0.5), x), tanh(s, x))],
  [
    "GELU by tanh, powers as products",
    "Gelu",
    (s, x) => {
      const cube = s.mul(x, s.mul(x, x));
      const sum = s.add(x, s.mul(cube, s.k(0.044715)));
      const t = s.op("Tanh", [s.mul(s.k(0.7978845608), sum)]);
      return s.mul(s.mul(x, s.add(s.k(1), t)), s.k(0.5));
    },
  ],
  [
    "GELU by tanh, x taken out of the cube",
    "Gelu",
    (s, x) => {
      const square = s.add(s.mul(s.mul(x, x), s.k(0.044715)), s.k(1));
      const t = s.op("Tanh", [s.mul(s.mul(x, s.k(0.7978845608)), square)]);
      return s.mul(s.mul(x, s.k(0.5)), s.add(t, s.k(1)));
    },
  ],
  ["SiLU", "Swish", (s, x) => s.mul(x, s.op("Sigmoid", [x]))],
  ["quick GELU", "Swish", (s, x) => s.mul(s.op("Sigmoid", [s.mul(s.k(1.702), x)]), x)],
  ["SiLU by exp", "Swish", (s, x) => s.div(x, s.add(s.op("Exp", [s.op("Neg", [x])]), s.k(1)))],
  ["hard swish", "HardSwish", (s, x) => s.mul(x, s.op("HardSigmoid", [x], swishAttributes))],
  ["hard swish by Clip", "HardSwish", (s, x) => s.div(s.mul(x, relu6(s, x)), s.k(6))],
  ["hard swish, a sixth first", "HardSwish", (s, x) => s.mul(x, s.mul(relu6(s, x), s.k(1 / 6)))],
  ["mish", "Mish", (s, x) => s.mul(x, s.op("Tanh", [s.op("Softplus", [x])]))],
  [
    "mish by log and exp",
    "Mish",
    (s, x) => s.mul(x, s.op("Tanh", [s.op("Log", [s.add(s.op("Exp", [x]), s.k(1))])])),
  ],
  [
    "softmax",
    "Softmax",
    (s, x) => {
      const e = s.op("Exp", [s.sub(x, s.op("ReduceMax", [x, s.list(-1)]))]);
      return s.div(e, s.op("ReduceSum", [e, s.list(1)]));
    },
  ],
  [
    "softmax by a reciprocal, on another axis",
    "Softmax",
    (s, x) => {
      const e = s.op("Exp", [s.sub(x, s.op("ReduceMax", [x, s.list(0)]))]);
      return s.mul(s.op("Reciprocal", [s.op("ReduceSum", [e, s.list(0)])]), e);
    },
  ],
  [
    "softmax, the axis left out and brought back",
    "Softmax",
    (s, x) => {
      const kept = (op: string, y: ValueName): ValueName =>
        s.op("Unsqueeze", [s.op(op, [y, s.list(1)], { keepdims: int(0) }), s.list(1)]);
      const e = s.op("Exp", [s.sub(x, kept("ReduceMax", x))]);
      return s.div(e, kept("ReduceSum", e));
    },
  ],
];

const NEAR: readonly (readonly [string, Draw])[] = [
  [
    "erf of x/√3",
    (s, x) => s.mul(s.mul(x, s.add(s.op("Erf", [s.div(x, s.k(1.732))]), s.k(1))), s.k(0.5)),
  ],
  ["not halved", (s, x) => s.mul(x, erf(s, x))],
  [
    "1 - erf",
    (s, x) => s.mul(s.mul(x, s.sub(s.k(1), s.op("Erf", [s.div(x, s.k(Math.SQRT2))]))), s.k(0.5)),
  ],
  ["erf of another value", (s, x) => s.mul(s.mul(s.op("Sin", [x]), erf(s, x)), s.k(0.5))],
  [
    "another cubic coefficient",
    (s, x) => s.mul(s.mul(s.k(0.5), x), s.add(s.op("Tanh", [inner(s, x, 0.0457)]), s.k(1))),
  ],
  [
    "a square in the tanh",
    (s, x) => {
      const sum = s.add(x, s.mul(s.k(0.044715), s.op("Pow", [x, s.k(2)])));
      const t = s.op("Tanh", [s.mul(sum, s.k(0.7978845608))]);
      return s.mul(s.mul(s.k(0.5), x), s.add(t, s.k(1)));
    },
  ],
  ["a gate of another value", (s, x) => s.mul(x, s.op("Sigmoid", [s.op("Sin", [x])]))],
  [
    "clipped at 5",
    (s, x) => s.div(s.mul(x, s.op("Clip", [s.add(x, s.k(3)), s.k(0), s.k(5)])), s.k(6)),
  ],
  ["divided by 5", (s, x) => s.div(s.mul(x, relu6(s, x)), s.k(5))],
  ["a hard sigmoid of slope 0.2", (s, x) => s.mul(x, s.op("HardSigmoid", [x]))],
  [
    "mish with log(2 + exp)",
    (s, x) => s.mul(x, s.op("Tanh", [s.op("Log", [s.add(s.op("Exp", [x]), s.k(2))])])),
  ],
  [
    "softmax with two axes",
    (s, x) => {
      const e = s.op("Exp", [s.sub(x, s.op("ReduceMax", [x, s.list(1)]))]);
      return s.div(e, s.op("ReduceSum", [e, s.list(0)]));
    },
  ],
  [
    "softmax upside down",
    (s, x) => {
      const e = s.op("Exp", [s.sub(x, s.op("ReduceMax", [x, s.list(1)]))]);
      return s.div(s.op("ReduceSum", [e, s.list(1)]), e);
    },
  ],
];

const MACROS = ["Gelu", "Swish", "HardSwish", "Mish", "Softmax"];

describe("activations written out", () => {
  test.each(FIRING)("%s is %s, and computes the same", async (_name, op, draw) => {
    const graph = drawn(draw);
    const found = canonicalize(graph);
    expect(found.nodes.map((node) => node.op)).toEqual(["Abs", op, "Neg"]);
    expect(await difference(graph, found)).toBeLessThan(1e-5);
    const macro = only(found, op);
    expect(macro && originalsOf(found, macro)).toHaveLength(graph.nodes.length - 2);
    expect(canonicalize({ ...found })).toEqual(found);
  });

  test.each(NEAR)("%s stays as it is", (_name, draw) => {
    const graph = drawn(draw);
    const ops = opsOf(graph);
    expect(ops.filter((op) => MACROS.includes(op))).toEqual([]);
    expect(ops).toHaveLength(graph.nodes.length);
  });

  test("an inner value that is read elsewhere, or is an output, keeps the nodes apart", () => {
    const s = new Sketch();
    const x = s.input(2, 5);
    const gate = s.op("Sigmoid", [x]);
    const y = s.mul(x, gate);
    expect(opsOf(s.end(y, gate))).toEqual(["Sigmoid", "Mul"]);
    const t = new Sketch();
    const z = t.input(2, 5);
    const other = t.op("Sigmoid", [z]);
    expect(opsOf(t.end(t.mul(z, other), t.op("Sin", [other])))).toEqual(["Sigmoid", "Mul", "Sin"]);
  });

  test("attributes say which form it is", () => {
    const gelu = only(canonicalize(drawn(FIRING[6]?.[2] ?? erf)), "Gelu");
    expect(gelu && stringAttribute(gelu, "approximate", "")).toBe("tanh");
    const quick = only(canonicalize(drawn(FIRING[10]?.[2] ?? erf)), "Swish");
    expect(quick && floatAttribute(quick, "alpha", 1)).toBeCloseTo(1.702, 6);
    const softmax = only(canonicalize(drawn(FIRING[18]?.[2] ?? erf)), "Softmax");
    expect(softmax?.attributes.get("axis")).toEqual(int(0));
  });

  test("what does nothing is passed by, and is found with its reader", () => {
    const s = new Sketch();
    const x = s.op("Abs", [s.input(2, 5)]);
    const same = s.op("Identity", [s.op("Dropout", [s.mul(x, s.k(1))])]);
    const graph = s.end(s.op("Neg", [same]));
    const found = canonicalize(graph);
    expect(found.nodes.map((node) => node.op)).toEqual(["Abs", "Neg"]);
    const [, neg] = found.nodes;
    expect(neg && originalsOf(found, neg).map(({ name }) => name)).toEqual([
      "Mul",
      "Dropout",
      "Identity",
      "Neg",
    ]);
  });

  test("a Dropout that trains, one whose mask is read, and a 1 that adds an axis are not nothing", () => {
    const s = new Sketch();
    const x = s.op("Abs", [s.input(5)]);
    const yes = s.b.constant({
      dtype: "bool",
      shape: [],
      data: { kind: "bytes", bytes: Uint8Array.of(1) },
    });
    const trained = s.op("Neg", [s.op("Dropout", [x, s.k(0.5), yes])]);
    const [kept = "", mask = ""] = s.b.emitAll("Dropout", [x], { outputCount: 2 });
    const taller = s.op("Neg", [s.mul(x, s.b.constant(float32([1, 1], [1])))]);
    const graph = s.end(trained, s.op("Neg", [kept]), s.op("Not", [mask]), taller);
    expect(opsOf(graph)).toHaveLength(graph.nodes.length);
  });
});
