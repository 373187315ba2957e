// What looks like a skip and is none, each with the reason.

import { expect, test } from "vitest";
import { int, type ValueName } from "../graph/graph.ts";
import { float32, int64, type TensorRef } from "../graph/tensor.ts";
import { census } from "./census.ts";
import { Sketch } from "./sketch.test-helper.ts";
import { REASONS } from "./skips/not-skips.ts";

type Draw = (s: Sketch) => ValueName;

const ones = (s: Sketch, ...shape: number[]): ValueName => {
  const count = shape.reduce((a, b) => a * b, 1);
  return s.b.constant(float32(shape, new Array(count).fill(1)));
};
const tower = (s: Sketch, x: ValueName): ValueName => s.op("Relu", s.conv(s.op("Relu", s.conv(x))));
const tokens = (s: Sketch, name: string): ValueName => {
  const table: TensorRef = { dtype: "float32", shape: [9, 8], data: { kind: "absent" } };
  return s.op(
    "Gather",
    s.b.initializer(`${name}.table`, table),
    s.b.input(name, "int64", ["N", 4]),
  );
};

const ROWS: readonly (readonly [keyof typeof REASONS, string, Draw])[] = [
  ["bias", "Add", (s) => s.op("Add", s.op("Relu", s.x), ones(s, 8, 1, 1))],
  ["constant", "Add", (s) => s.op("Add", s.op("Relu", s.x), ones(s, 8, 8, 8))],
  [
    "mask",
    "Add",
    (s) =>
      s.op(
        "Add",
        s.x,
        s.b.emit("Cast", [s.b.input("m", "bool", ["N", 8, 8, 8])], {
          attributes: { to: int(1) },
        }),
      ),
  ],
  [
    "activation",
    "Add",
    (s) =>
      s.op(
        "Mul",
        s.op(
          "Div",
          s.op("Add", s.op("Erf", s.op("Div", s.x, s.one(Math.SQRT2))), s.one(1)),
          s.one(2),
        ),
        s.x,
      ),
  ],
  ["activation", "Mul", (s) => s.op("Mul", s.x, s.op("Sigmoid", s.x))],
  ["activation", "Mul", (s) => s.op("Mul", s.x, s.op("Tanh", s.op("Softplus", s.op("Abs", s.x))))],
  [
    "channelGate",
    "Mul",
    (s) => {
      const y = s.op("Relu", s.conv(s.x));
      return s.op(
        "Mul",
        y,
        s.op("Sigmoid", s.conv(s.op("GlobalAveragePool", y), 8, { kernel: 1 })),
      );
    },
  ],
  ["gatedUnit", "Mul", (s) => s.op("Mul", s.op("Sigmoid", s.conv(s.x)), s.conv(s.x))],
  [
    "gatedUnit",
    "Mul",
    (s) => {
      const [a = "", b = ""] = s.split(s.conv(s.x));
      return s.op("Mul", a, s.op("Sigmoid", b));
    },
  ],
  ["parallel", "Concat", (s) => s.concat(s.op("Relu", s.conv(s.x)), tower(s, s.x))],
  ["parallel", "Add", (s) => s.op("Add", tower(s, s.x), tower(s, s.x))],
  [
    "pooledBranch",
    "Concat",
    (s) =>
      s.concat(
        s.conv(s.x, 8, { stride: 2 }),
        s.conv(s.op("Relu", s.conv(s.x)), 8, { stride: 2 }),
        s.pool(s.x),
      ),
  ],
  ["sameValue", "Concat", (s) => s.concat(s.pool(s.x, "AveragePool"), s.pool(s.x))],
  [
    "sources",
    "Add",
    (s) => s.op("Add", tower(s, s.x), tower(s, s.b.input("z", "float32", ["N", 8, 8, 8]))),
  ],
  ["cache", "Concat", (s) => s.concat(s.b.input("past", "float32", ["N", 8, 8, 8]), s.conv(s.x))],
  ["embeddings", "Add", (s) => s.op("Add", tokens(s, "words"), tokens(s, "types"))],
  ["constantJoined", "Concat", (s) => s.concat(ones(s, 1, 8, 8, 8), s.op("Relu", s.x))],
  [
    "shape",
    "Concat",
    (s) => {
      const axes = { attributes: { axis: int(0) } };
      const first = s.op("Gather", s.op("Shape", s.x), s.b.constant(int64([1], [0])));
      const list = s.b.emit("Concat", [first, s.b.constant(int64([1], [-1]))], axes);
      return s.op("Reshape", s.conv(s.x), list);
    },
  ],
  [
    "norm",
    "Add",
    (s) => {
      const mean = (x: ValueName): ValueName =>
        s.b.emit("ReduceMean", [x, s.b.constant(int64([1], [-1]))]);
      const d = s.op("Sub", s.x, mean(s.x));
      return s.op("Div", d, s.op("Sqrt", s.op("Add", mean(s.op("Mul", d, d)), s.one(1e-5))));
    },
  ],
];

test.each(ROWS)("%s: %s", (reason, op, draw) => {
  const s = new Sketch();
  const graph = s.end(s.conv(s.op("Identity", draw(s)), 8));
  const found = census(graph);
  expect(found.skips).toEqual([]);
  const ops = new Map(graph.nodes.map((node) => [node.name, node.op]));
  const rows = found.notSkips.map((row) => `${ops.get(row.node)}: ${row.reason}`);
  expect(rows).toContain(`${op}: ${REASONS[reason]}`);
});

test("an interpolation is one skip; the difference inside is named with its reason", () => {
  const s = new Sketch();
  const h = s.op("Relu", s.conv(s.x));
  const way = s.op("Mul", s.op("Sigmoid", s.conv(s.x)), s.op("Sub", h, s.x));
  const { notSkips, counts } = census(s.end(s.op("Add", s.x, way)));
  expect(counts).toMatchObject({ total: 1, gated: 1 });
  expect(notSkips.map(({ reason }) => reason)).toContain(REASONS.interpolation);
});
