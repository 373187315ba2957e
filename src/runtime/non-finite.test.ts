import { describe, expect, test } from "vitest";
import { parseGraph } from "../graph/parse.ts";
import { float32, type Tensor } from "../graph/tensor.ts";
import { firstNonFinite } from "./non-finite.ts";

const OPSETS = { opsets: new Map([["", 20]]) };

async function found(text: string, feeds: Readonly<Record<string, Tensor>>) {
  return firstNonFinite(parseGraph(text, OPSETS), new Map(Object.entries(feeds)));
}

const x = (...values: number[]): Record<string, Tensor> => ({
  x: float32([values.length], values),
});

describe("the first number that is none", () => {
  const LOGS = `g (float[N] x) => (float[N] y)
    { a = Exp (x)  b = Sub (x, x)  c = Log (b)  d = Mul (c, b)  e = Add (d, a)  y = Neg (e) }`;

  test("names the node, its op, and the ranges of what it read", async () => {
    const one = await found(LOGS, x(1, -2, 3));
    expect(one?.node).toMatchObject({ op: "Log" });
    expect(one?.value).toMatchObject({ name: "c", elements: 3, nan: 0, infinite: 3 });
    expect(one?.value.min).toBeNaN();
    expect(one?.inputs).toEqual([
      { name: "b", dtype: "float32", elements: 3, min: 0, max: 0, nan: 0, infinite: 0 },
    ]);
  });

  test("an overflow counts, from where it begins", async () => {
    const one = await found(LOGS, x(1, 90, -3));
    expect(one?.node).toMatchObject({ op: "Exp" });
    expect(one?.value).toMatchObject({ infinite: 1, elements: 3 });
    expect(one?.value.max).toBeCloseTo(Math.E, 5);
    expect(one?.inputs[0]).toMatchObject({ min: -3, max: 90 });
  });

  test("nothing where all is finite", async () => {
    const text = "g (float[N] x) => (float[N] y) { a = Exp (x)  y = Neg (a) }";
    expect(await found(text, x(1, 2))).toBeUndefined();
    expect(await found(text, { x: float32([0], []) })).toBeUndefined();
  });

  test("what was given is told as such: NaN alone", async () => {
    const one = await found(LOGS, x(1, Number.NaN, 2));
    expect(one?.node).toBeUndefined();
    expect(one?.value).toMatchObject({ name: "x", nan: 1, min: 1, max: 2 });
  });

  test("an infinity that hides what is masked is no finding, but NaN made of it is", async () => {
    const feeds = { ...x(1, 2, 3), mask: float32([3], [0, Number.NEGATIVE_INFINITY, 0]) };
    const softmax =
      "g (float[3] x, float[3] mask) => (float[3] y) { s = Add (x, mask)  y = Softmax <axis = 0> (s) }";
    expect(await found(softmax, feeds)).toBeUndefined();
    const all = {
      ...feeds,
      mask: float32([3], new Array<number>(3).fill(Number.NEGATIVE_INFINITY)),
    };
    expect((await found(softmax, all))?.node).toMatchObject({ op: "Softmax" });
  });

  test("in the branch that is taken, also of a branch; of a Loop it names the node around", async () => {
    const branch = (c: string): string => `g (float[2] x) => (float[2] y)
      { m = ReduceMin <keepdims = 0> (x)  zero = Sub (m, m)  t = ${c} (m, zero)
        y = If (t) <then_branch = a () => (float[2] u) {
            u = If (t) <then_branch = c () => (float[2] w) { e = Exp (x)  n = Neg (e)  w = Log (n) },
                        else_branch = d () => (float[2] k) { k = Neg (x) }> },
          else_branch = b () => (float[2] v) { v = Neg (x) }> }`;
    const one = await found(branch("Less"), x(-1, 2));
    expect(one?.node).toMatchObject({ op: "Log" });
    expect(one?.inputs).toMatchObject([{ elements: 2, max: expect.closeTo(-Math.exp(-1), 5) }]);
    expect(await found(branch("Greater"), x(-1, 2))).toBeUndefined();
    const loop = `g (float[2] x) => (float[2] y) <int64 three = {3}>
      { y = Loop (three, , x) <body = b (int64 i, bool c, float[2] s) => (bool d, float[2] r)
          { d = Identity (c)  h = Mul (s, s)  r = Mul (h, h) }> }`;
    const other = await found(loop, x(1e10, 1));
    expect(other?.node).toMatchObject({ op: "Loop" });
    expect(other?.inputs).toMatchObject([
      { name: "three", max: 3 },
      { name: "x", min: 1 },
    ]);
  });

  test("many values are looked at in groups, in order", async () => {
    const steps = Array.from({ length: 300 }, (_, i) => `v${i + 1} = Add (v${i}, x)`).join("\n");
    const text = `g (float[2] x) => (float[2] y) { v0 = Identity (x) ${steps} l = Log (v300)  m = Sqrt (l)  y = Neg (m) }`;
    const one = await found(text, x(1, -1));
    expect(one?.node).toMatchObject({ op: "Log" });
    expect(one?.inputs[0]).toMatchObject({ name: "v300", min: -301, max: 301 });
  });
});
