import { expect, test } from "vitest";
import type { ValueName } from "../../graph/graph.ts";
import { int64, tensor } from "../../graph/tensor.ts";
import { census } from "../census.ts";
import { Sketch } from "../sketch.test-helper.ts";

/** The order of norms in x + layers(x), over [1, 4, 8]. */
function orderOf(layers: (s: Sketch, x: ValueName) => ValueName): readonly string[] {
  const s = new Sketch([1, 4, 8]);
  return census(s.end(s.op("Add", s.x, layers(s, s.x)))).skips.map(({ norm }) => norm);
}

/** On the grid of signed bytes and back. */
function rounded(s: Sketch, x: ValueName): ValueName {
  const [scale, zero] = [s.one(0.1), s.b.constant(tensor("int8", [], Uint8Array.of(0)))];
  return s.op("DequantizeLinear", s.op("QuantizeLinear", x, scale, zero), scale, zero);
}

/** x / √(mean(of) + ε), every value rounded. */
function quotient(s: Sketch, x: ValueName, of: ValueName): ValueName {
  const mean = rounded(s, s.op("ReduceMean", of, s.b.constant(int64([1], [-1]))));
  return rounded(s, s.op("Div", x, s.op("Sqrt", rounded(s, s.op("Add", mean, s.one(1e-5))))));
}

const mlp = (s: Sketch, x: ValueName): ValueName => s.linear(s.op("Relu", s.linear(x)));
const norm = (s: Sketch, x: ValueName): ValueName => quotient(s, x, s.op("Mul", x, x));

test("before the layers, and before and behind them", () => {
  expect(orderOf((s, x) => mlp(s, norm(s, x)))).toEqual(["pre"]);
  expect(orderOf((s, x) => norm(s, rounded(s, mlp(s, norm(s, x)))))).toEqual(["sandwich"]);
});

test("behind the sum", () => {
  const order = (behind: (s: Sketch, sum: ValueName) => ValueName): readonly string[] => {
    const s = new Sketch([1, 4, 8]);
    const sum = rounded(s, s.op("Add", s.x, mlp(s, s.x)));
    return census(s.end(behind(s, sum))).skips.map((skip) => skip.norm);
  };
  expect(order(norm)).toEqual(["post"]);
  expect(order((s, sum) => s.concat(norm(s, sum), sum))).toEqual(["none"]);
});

test("with the mean taken off", () => {
  const centred = (s: Sketch, x: ValueName): ValueName =>
    rounded(s, s.op("Sub", x, rounded(s, s.op("ReduceMean", x, s.b.constant(int64([1], [-1]))))));
  expect(orderOf((s, x) => mlp(s, norm(s, centred(s, x))))).toEqual(["pre"]);
});

test("the mean square of another value makes no norm", () => {
  expect(orderOf((s, x) => mlp(s, quotient(s, x, s.op("Mul", x, s.op("Neg", x)))))).toEqual([
    "none",
  ]);
});
