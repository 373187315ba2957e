import { describe, expect, test } from "vitest";
import {
  float,
  floatAttribute,
  type Graph,
  int,
  intAttribute,
  ints,
  type ValueName,
} from "../../graph/graph.ts";
import { originalsOf } from "../../graph/original.ts";
import { float32 } from "../../graph/tensor.ts";
import { canonicalize } from "../canonical.ts";
import { difference, only, opsOf, Sketch } from "./idioms.test-helper.ts";

type Draw = (s: Sketch, x: ValueName) => ValueName;

interface Row {
  readonly name: string;
  readonly op: string;
  readonly draw: Draw;
  readonly shape?: readonly (number | string)[];
  readonly opset?: number;
}

const EPSILON = 0.003;

function drawn({ draw, shape = [2, 3, 6], opset }: Omit<Row, "name" | "op">): Graph {
  const s = new Sketch(opset);
  return s.end(s.op("Neg", [draw(s, s.op("Sin", [s.input(...shape)]))]));
}

const mean = (s: Sketch, x: ValueName, ...axes: number[]): ValueName =>
  s.opset < 18
    ? s.op("ReduceMean", [x], { axes: ints(axes.length === 0 ? [-1] : axes) })
    : s.op("ReduceMean", [x, s.list(...(axes.length === 0 ? [-1] : axes))]);
const centred = (s: Sketch, x: ValueName, ...axes: number[]): ValueName =>
  s.sub(x, mean(s, x, ...axes));
const deviation = (s: Sketch, d: ValueName, ...axes: number[]): ValueName =>
  s.op("Sqrt", [s.add(mean(s, s.op("Pow", [d, s.k(2)]), ...axes), s.k(EPSILON))]);
const quotient: Draw = (s, x) => {
  const d = centred(s, x);
  return s.div(d, deviation(s, d));
};
const rms: Draw = (s, x) => s.op("Sqrt", [s.add(mean(s, s.mul(x, x)), s.k(EPSILON))]);
const inverse = (s: Sketch, x: ValueName): ValueName => s.op("Reciprocal", [x]);

function group(s: Sketch, x: ValueName, inner: (y: ValueName) => ValueName): ValueName {
  return s.op("Reshape", [inner(s.op("Reshape", [x, s.list(0, 2, -1)])), s.op("Shape", [x])]);
}
function instance(s: Sketch, y: ValueName, groups = 2, gain = 1): ValueName {
  const scale = s.b.constant(float32([groups], new Float32Array(groups).fill(gain)));
  const offset = s.b.constant(float32([groups], new Float32Array(groups)));
  return s.op("InstanceNormalization", [y, scale, offset], { epsilon: float(EPSILON) });
}
const image = ["N", 4, 3, 3];

const FIRING: readonly Row[] = [
  {
    name: "LayerNorm of PyTorch",
    op: "LayerNormalization",
    draw: (s, x) => s.add(s.mul(quotient(s, x), s.w(6)), s.w(6)),
  },
  {
    name: "the same before operator set 18",
    op: "LayerNormalization",
    opset: 17,
    draw: (s, x) => s.add(s.mul(quotient(s, x), s.w(6)), s.w(6)),
  },
  {
    name: "without offset",
    op: "LayerNormalization",
    draw: (s, x) => s.mul(s.w(6), quotient(s, x)),
  },
  { name: "without gain and offset", op: "LayerNormalization", draw: quotient },
  {
    name: "with offset alone",
    op: "LayerNormalization",
    draw: (s, x) => s.add(quotient(s, x), s.w(1, 1, 6)),
  },
  {
    name: "the difference computed twice, a product for the square, a reciprocal",
    op: "LayerNormalization",
    draw: (s, x) => {
      const d = s.sub(x, mean(s, x));
      const root = s.op("Sqrt", [s.add(s.k(EPSILON), mean(s, s.mul(d, d), 2))]);
      return s.add(s.w(6), s.mul(s.mul(centred(s, x, 2), inverse(s, root)), s.w(6)));
    },
  },
  {
    name: "over two axes",
    op: "LayerNormalization",
    draw: (s, x) => {
      const d = centred(s, x, -2, -1);
      return s.add(s.mul(s.div(d, deviation(s, d, 1, 2)), s.w(3, 6)), s.w(3, 6));
    },
  },
  {
    name: "by moments, as TensorFlow computes it",
    op: "LayerNormalization",
    draw: (s, x) => {
      const m = mean(s, x);
      const d = s.sub(x, m);
      const v = mean(s, s.mul(d, d));
      const r = s.mul(inverse(s, s.op("Sqrt", [s.add(v, s.k(EPSILON))])), s.w(6));
      return s.add(s.mul(x, r), s.sub(s.w(6), s.mul(m, r)));
    },
  },
  {
    name: "by sums whose axis is left out and brought back, as JAX writes them",
    op: "LayerNormalization",
    draw: (s, x) => {
      const kept = (y: ValueName): ValueName =>
        s.op("Expand", [s.op("Reshape", [y, s.list(2, 3, 1)]), s.list(2, 3, 1)]);
      const over = (op: string, y: ValueName): ValueName =>
        s.div(kept(s.op(op, [y, s.list(2)], { keepdims: int(0) })), s.k(6));
      const d = s.sub(x, over("ReduceSum", x));
      return s.div(d, s.op("Sqrt", [s.add(over("ReduceSumSquare", d), s.k(EPSILON))]));
    },
  },
  {
    name: "by pooling, and with minus the mean added, as Keras writes it",
    op: "LayerNormalization",
    draw: (s, x) => {
      const pool = (y: ValueName): ValueName => s.op("GlobalAveragePool", [y]);
      const m = pool(x);
      const d = s.sub(x, m);
      const r = s.mul(inverse(s, s.op("Sqrt", [s.add(pool(s.mul(d, d)), s.k(EPSILON))])), s.w(6));
      return s.add(s.mul(x, r), s.add(s.mul(s.op("Neg", [m]), r), s.w(6)));
    },
  },
  {
    name: "RMSNorm, divided",
    op: "RMSNormalization",
    draw: (s, x) => s.mul(s.w(6), s.div(x, rms(s, x))),
  },
  {
    name: "RMSNorm, one over the root",
    op: "RMSNormalization",
    draw: (s, x) => s.mul(s.w(6), s.mul(x, s.div(s.k(1), rms(s, x)))),
  },
  {
    name: "RMSNorm by a power",
    op: "RMSNormalization",
    draw: (s, x) => {
      const square = s.op("Pow", [x, s.k(2)]);
      return s.mul(
        s.mul(x, s.op("Pow", [s.add(mean(s, square), s.k(EPSILON)), s.k(-0.5)])),
        s.w(6),
      );
    },
  },
  {
    name: "instance norm",
    op: "InstanceNormalization",
    shape: image,
    draw: (s, x) => {
      const d = centred(s, x, 2, 3);
      return s.add(s.mul(s.div(d, deviation(s, d, 2, 3)), s.w(4, 1, 1)), s.w(1, 4, 1, 1));
    },
  },
  {
    name: "GroupNorm by an instance norm",
    op: "GroupNormalization",
    shape: image,
    draw: (s, x) =>
      s.add(
        s.mul(
          group(s, x, (y) => instance(s, y)),
          s.w(4, 1, 1),
        ),
        s.w(4, 1, 1),
      ),
  },
  {
    name: "GroupNorm written out",
    op: "GroupNormalization",
    shape: image,
    draw: (s, x) =>
      s.mul(
        group(s, x, (y) => quotient(s, y)),
        s.w(4, 1, 1),
      ),
  },
  {
    name: "GroupNorm without gain",
    op: "GroupNormalization",
    shape: image,
    draw: (s, x) => group(s, x, (y) => instance(s, y)),
  },
];

const NEAR: readonly (Omit<Row, "op"> & { readonly ops?: readonly string[] })[] = [
  { name: "the mean taken off, nothing else", draw: (s, x) => centred(s, x) },
  {
    name: "ε added to the deviation",
    draw: (s, x) => {
      const d = centred(s, x);
      return s.div(d, s.add(s.op("Sqrt", [mean(s, s.mul(d, d))]), s.k(EPSILON)));
    },
  },
  {
    name: "the mean over one axis, the variance over another: the second half alone is a norm",
    ops: ["RMSNormalization"],
    draw: (s, x) => {
      const d = centred(s, x, 1);
      return s.div(d, s.op("Sqrt", [s.add(mean(s, s.mul(d, d), 2), s.k(EPSILON))]));
    },
  },
  {
    name: "an axis that is not the last",
    draw: (s, x) => s.div(x, s.op("Sqrt", [s.add(mean(s, s.mul(x, x), 1), s.k(EPSILON))])),
  },
  {
    name: "a cube",
    draw: (s, x) =>
      s.div(x, s.op("Sqrt", [s.add(mean(s, s.op("Pow", [x, s.k(3)])), s.k(EPSILON))])),
  },
  { name: "another numerator", draw: (s, x) => s.div(s.op("Cos", [x]), rms(s, x)) },
  {
    name: "less than the mean square",
    draw: (s, x) => s.div(x, s.op("Sqrt", [s.add(mean(s, s.mul(x, x)), s.k(-0.1))])),
  },
  { name: "upside down", draw: (s, x) => s.div(rms(s, x), x) },
  {
    name: "the mean without its axis kept",
    shape: [6, 6],
    draw: (s, x) => {
      const m = s.op("ReduceMean", [s.mul(x, x), s.list(-1)], { keepdims: int(0) });
      return s.div(x, s.op("Sqrt", [s.add(m, s.k(EPSILON))]));
    },
  },
  {
    name: "a sum divided by another number than that of its elements",
    draw: (s, x) => {
      const m = s.div(s.op("ReduceSumSquare", [x, s.list(-1)]), s.k(5));
      return s.div(x, s.op("Sqrt", [s.add(m, s.k(EPSILON))]));
    },
  },
  {
    name: "the mean where minus the mean should be added",
    draw: (s, x) => {
      const m = mean(s, x);
      const d = s.sub(x, m);
      const r = inverse(s, s.op("Sqrt", [s.add(mean(s, s.mul(d, d)), s.k(EPSILON))]));
      return s.add(s.mul(x, r), s.add(s.mul(m, r), s.w(6)));
    },
  },
  {
    name: "groups that are scaled one by one",
    shape: image,
    ops: ["InstanceNormalization"],
    draw: (s, x) => group(s, x, (y) => instance(s, y, 2, 2)),
  },
  {
    name: "groups that are not put back",
    shape: image,
    ops: ["InstanceNormalization"],
    draw: (s, x) =>
      s.op("Reshape", [instance(s, s.op("Reshape", [x, s.list(0, 2, -1)])), s.list(2, 4, 9)]),
  },
];

const MACROS = [
  "LayerNormalization",
  "RMSNormalization",
  "InstanceNormalization",
  "GroupNormalization",
];

describe("norms written out", () => {
  test.each(FIRING)("$name is $op, and computes the same", async (row) => {
    const graph = drawn(row);
    const found = canonicalize(graph);
    expect(found.nodes.map((node) => node.op)).toEqual(["Sin", row.op, "Neg"]);
    const macro = only(found, row.op);
    expect(macro && floatAttribute(macro, "epsilon", 0)).toBeCloseTo(EPSILON, 6);
    expect(macro && originalsOf(found, macro)).toHaveLength(graph.nodes.length - 2);
    const runnable = row.opset === undefined ? found : { ...found, opsets: new Map([["", 17]]) };
    expect(await difference(graph, runnable)).toBeLessThan(1e-5);
    const again = { ...found };
    expect(canonicalize(again)).toBe(again);
  });

  test.each(NEAR)("$name is left as it is", (row) => {
    const graph = drawn(row);
    expect(opsOf(graph).filter((op) => MACROS.includes(op))).toEqual(row.ops ?? []);
    if (row.ops === undefined) expect(opsOf(graph)).toHaveLength(graph.nodes.length);
  });

  test("casts around the norm belong to it: the op computes in float32 by itself", () => {
    const s = new Sketch();
    const x = s.op("Cast", [s.input(2, 6)], { to: int(10) });
    const wide = s.op("Cast", [s.op("Sin", [x])], { to: int(1) });
    const back = s.op("Cast", [s.div(wide, rms(s, wide))], { to: int(10) });
    const gain = s.b.constant({ dtype: "float16", shape: [6], data: { kind: "absent" } });
    const graph = s.end(s.mul(gain, back));
    expect(opsOf(graph)).toEqual(["Cast", "Sin", "RMSNormalization"]);
    const macro = only(canonicalize(graph), "RMSNormalization");
    expect(macro && intAttribute(macro, "axis", 0)).toBe(-1);
    const value = canonicalize(graph).values.get(macro?.outputs[0] ?? "");
    expect(value).toMatchObject({ dtype: "float16", shape: [2, 6] });
  });

  test("a gain of another type than the input stays outside", () => {
    const s = new Sketch();
    const half = s.op("Sin", [s.op("Cast", [s.input(2, 6)], { to: int(10) })]);
    const wide = s.op("Cast", [half], { to: int(1) });
    const graph = s.end(s.mul(s.w(6), s.div(wide, rms(s, wide))));
    expect(opsOf(graph)).toEqual(["Cast", "Sin", "Cast", "RMSNormalization"]);
  });
});
