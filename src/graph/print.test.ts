import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { comparable } from "../../scripts/comparable.ts";
import { limits } from "../base/limits.ts";
import { Random } from "../base/random.ts";
import { starter } from "../nn/models/starter.ts";
import { buildNet } from "../nn/net.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { readModel } from "../onnx/read.ts";
import { encodeModel } from "../onnx/write.ts";
import { dtypeBytes } from "./dtype.ts";
import type { Attribute, Graph, ValueType } from "./graph.ts";
import { parseGraph } from "./parse.ts";
import { printGraph } from "./print.ts";
import { DTYPES, RandomGraphs } from "./random-graphs.test-helper.ts";
import type { TensorRef } from "./tensor.ts";
import { graph } from "./text.test-helper.ts";
import { valueTypes, withoutLengths } from "./value-type.test-helper.ts";
import { sequenceOf } from "./value-type.ts";

const net = (skips: boolean): Graph => {
  const input = { name: "image", shape: [1, 8, 8] };
  return readModel(
    encodeModel(modelOf(buildNet(starter({ skips }), { input, output: "y", seed: 1 }))),
  ).graph;
};

describe("print and parse", () => {
  test("what is printed reads back the same, on random graphs", () => {
    fc.assert(
      fc.property(fc.gen(), (g) => {
        const made = new RandomGraphs(g).model();
        const text = printGraph(made);
        expect(parseGraph(text)).toEqual(made);
        expect(printGraph(parseGraph(text))).toBe(text);
      }),
      // Making such a graph smaller takes minutes: the seed is told, which gives it again.
      { numRuns: 100, endOnFailure: true },
    );
  });

  test("every element type keeps every bit, NaNs with what they carry included", () => {
    const random = new Random(3);
    for (const dtype of DTYPES.filter((one) => one !== "string")) {
      const bytes = Uint8Array.from({ length: dtypeBytes(dtype, 512) }, () => random.integer(256));
      const w: TensorRef = { dtype, shape: [512], data: { kind: "bytes", bytes } };
      const made = { ...graph`g () => () {}`, initializers: new Map([["w", w]]) };
      expect(parseGraph(printGraph(made)).initializers.get("w"), dtype).toEqual(w);
    }
    const nans = graph`g () => () <float[4] w = {nan, -nan, nan(2143289345), -0}> {}`;
    expect(nans.initializers.get("w")?.data).toEqual({
      kind: "bytes",
      bytes: new Uint8Array(Uint32Array.of(0x7fc00000, 0xffc00000, 0x7fc00001, 0x80000000).buffer),
    });
    expect(printGraph(nans)).toContain("{nan,-nan,nan(2143289345),-0}");
  });

  test("the starter and its plain twin, weights and all", () => {
    for (const made of [net(true), net(false)]) {
      expect(comparable(parseGraph(printGraph(made))) === comparable(made)).toBe(true);
    }
  });

  test("large tensors can be left out, and are absent then", () => {
    const made = net(true);
    const text = printGraph(made, { elideAbove: 20 });
    expect(text.length).toBeLessThan(40_000);
    const again = parseGraph(text);
    for (const [name, ref] of made.initializers) {
      const small = ref.shape.reduce((a, b) => a * b, 1) <= 20;
      expect(again.initializers.get(name)).toEqual(
        small ? ref : { ...ref, data: { kind: "absent" } },
      );
    }
    expect(again.nodes).toEqual(made.nodes);
  });

  test("what has no form of its own is named and left out", () => {
    const made = graph`g (float x) => (float y) { y = Op <keep = 1> (x) }`;
    const opaque: Attribute = { kind: "opaque", bytes: Uint8Array.of(1) };
    const nodes = made.nodes.map((node) => ({ ...node, attributes: new Map([["type", opaque]]) }));
    const text = printGraph({ ...made, nodes });
    expect(text).toContain("y = Op <type = …> (x)");
    expect(() => parseGraph(text)).toThrow(/left out of the text/);
    const values = [Uint8Array.of(0xff)];
    const binary: TensorRef = { dtype: "string", shape: [1], data: { kind: "strings", values } };
    expect(printGraph({ ...made, initializers: new Map([["s", binary]]) })).toContain("s = {…}");
  });

  test("what the form has no words for is not there: lengths of sequences, remarks on nodes", () => {
    const made = graph`g (float x) => (float y) { y = Relu (x) }`;
    fc.assert(
      fc.property(valueTypes, (type) => {
        const inputs = [{ name: "x", ...type }];
        const again = parseGraph(printGraph({ ...made, inputs }), { opsets: made.opsets });
        expect(again).toEqual({ ...made, inputs: [{ name: "x", ...withoutLengths(type) }] });
      }),
    );
    const nodes = made.nodes.map((node) => ({ ...node, remarks: Uint8Array.of(0xff) }));
    expect(printGraph({ ...made, nodes })).toBe(printGraph(made));
  });

  test("a type of a file that is deeper than any is read back as the file was read", () => {
    let type: ValueType = { dtype: "float32", shape: [] };
    for (let i = 0; i < 40; i++) type = sequenceOf(type);
    const made = { ...graph`g () => () {}`, inputs: [{ name: "x", ...type }] };
    const read = readModel(encodeModel(modelOf(made))).graph;
    expect(parseGraph(printGraph(read))).toEqual(read);
  });

  test("functions have the names by which nodes call them, whatever slashes are in these", () => {
    const made = graph`
      g (float x) => (float y) { y = If (x) <then_branch = t () => (float z) { z = "a/b".f (x) }> }
      <domain: "a/b"> f (x) => (y) { y = c."f/g":"v/w" (x) }
      <domain: "c", overload: "v/w"> "f/g" (x) => (y) { y = Relu (x) }
      <domain: "no/call"> h (x) => (y) { y = Relu (x) }
      <domain: "no"> "" (x) => (y) { y = Relu (x) }
      <domain: "no"> "call/" (x) => (y) { y = Relu (x) }
      <domain: ""> "/" (x) => (y) { y = Relu (x) }`;
    const text = printGraph(made);
    expect(text).toMatch(/<domain: "a\/b", opset_import: \[\]>\nf \(x\)/);
    expect(text).toMatch(/<domain: "c", overload: "v\/w", opset_import: \[\]>\n"f\/g" \(x\)/);
    expect(parseGraph(text)).toEqual(made);
  });

  test("a text that no string could hold is refused before it is made", () => {
    const bytes = new Uint8Array(limits.textCharsMax / 20);
    const huge: TensorRef = {
      dtype: "int8",
      shape: [bytes.length],
      data: { kind: "bytes", bytes },
    };
    const made = { ...graph`g () => () {}`, initializers: new Map([["w", huge]]) };
    expect(() => printGraph(made)).toThrow(/more than 268435456 characters/);
    expect(printGraph(made, { elideAbove: 8 })).toContain("w = {…}");
  });

  test("the form of a small graph", () => {
    const made = graph`
      <opset_import: ["" : 20, "pkg" : 1], metadata_props: ["author": "me"]>
      g (float[N,3] x, bool c) => (float[N,3] y) <float[3] w = {0.1, -2, 1e-7}, float[N,?] h,
        optional(seq(float[N,3])) o, map(int64, seq(float)) m>
      {
        [scale] h = Mul (x, w)
        y = If (c) <
          then_branch = then () => (float[] r) { r = pkg.leaky <slope = 1> ("", h) },
          else_branch = "is not" () => (float[] r) { r = Relu (h) }>
      }
      <domain: "pkg", opset_import: ["" : 18]>
      leaky <slope> (a, b) => (c) { c = LeakyRelu <alpha: float = @slope> (b) }
      <domain: "pkg", opset_import: ["" : 18], overload: "all">
      leaky (optional(float) a, map(int64,float) b) => (c) { c = pkg.other:v <k = 1> (b) }`;
    expect(printGraph(made)).toMatchInlineSnapshot(`
      "<ir_version: 10, opset_import: ["" : 20, "pkg" : 1], metadata_props: ["author": "me"]>
      g (float[N,3] x, bool c) => (float[N,3] y)
      <
        float[3] w = {0.1,-2,1e-7},
        float[N,?] h,
        optional(seq(float[N,3])) o,
        map(int64, seq(float)) m
      >
      {
        [scale] h = Mul (x, w)
        y = If (c) <
          then_branch = then () => (float[] r)
          {
            r = pkg.leaky <slope = 1> ("", h)
          },
          else_branch = "is not" () => (float[] r)
          {
            r = Relu (h)
          }
        >
      }

      <domain: "pkg", opset_import: ["" : 18]>
      leaky <slope> (a, b) => (c)
      {
        c = LeakyRelu <alpha: float = @slope> (b)
      }

      <domain: "pkg", overload: "all", opset_import: ["" : 18]>
      leaky (a, b) => (c)
      {
        c = pkg.other:v <k = 1> (b)
      }
      "
    `);
  });
});
