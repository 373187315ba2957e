import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { limits } from "../base/limits.ts";
import type { DType } from "../graph/dtype.ts";
import { bytesOf, float32, type Tensor, tensor } from "../graph/tensor.ts";
import { bytesFault } from "./bytes-tensor.ts";
import { tensorFromJson } from "./json-data.ts";
import { outlineOf, parseJson } from "./json-outline.ts";
import { JsonWriter } from "./json-write.ts";
import { bytesElements, bytesOfElements } from "./strings.test-helper.ts";

// Judged by JSON.parse and by the platform's own reading of numbers.

function read(dtype: DType, shape: readonly number[], text: string): Tensor | string {
  return tensorFromJson(dtype, shape, Buffer.from(text));
}

function tensorOf(found: Tensor | string): Tensor {
  if (typeof found === "string") throw new Error(found);
  return found;
}

function floats(found: Tensor | string): number[] {
  return [...new Float32Array(new Uint8Array(tensorOf(found).data.bytes).buffer)];
}

function doubles(found: Tensor | string): number[] {
  return [...new Float64Array(new Uint8Array(tensorOf(found).data.bytes).buffer)];
}

function written(value: Tensor): string {
  const writer = new JsonWriter();
  expect(writer.elements(value)).toBe(true);
  return writer.bytes().toString();
}

/** Texts of numbers in every notation, with up to forty digits. */
const numberText = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
  fc.float({ noNaN: true, noDefaultInfinity: true }).map(String),
  fc
    .tuple(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.integer({ min: 0, max: 25 }))
    .map(([value, digits]) => value.toExponential(digits)),
  fc
    .tuple(
      fc.constantFrom("", "-"),
      fc.stringMatching(/^(0|[1-9][0-9]{0,25})$/),
      fc.stringMatching(/^(\.[0-9]{1,25})?$/),
      fc.stringMatching(/^([eE][+-]?[0-9]{1,2})?$/),
    )
    .map((parts) => parts.join("")),
);

describe("numbers", () => {
  test("are read as the platform reads them", () => {
    fc.assert(
      fc.property(numberText, (text) => {
        const number = JSON.parse(text) as number;
        if (Number.isFinite(number))
          expect(doubles(read("float64", [1], `[${text}]`))).toEqual([number]);
        const single = Math.fround(number);
        const found = read("float32", [1], `[${text}]`);
        if (Number.isFinite(single)) expect(floats(found)).toEqual([single]);
        else expect(found).toMatch(/is no FP32/);
      }),
      { numRuns: 1000 },
    );
  });

  test("next to the middle between two floats the last digit decides", () => {
    fc.assert(
      fc.property(
        fc.float({ min: Math.fround(1e-30), max: Math.fround(1e30), noNaN: true }),
        fc.integer({ min: 15, max: 30 }),
        fc.integer({ min: -2, max: 2 }),
        (value, digits, off) => {
          const next = floats({ ...float32([1], [value]) })[0] ?? 0;
          const bits = new Uint32Array(Float32Array.of(next).buffer);
          const above = new Float32Array(Uint32Array.of((bits[0] ?? 0) + 1).buffer)[0] ?? 0;
          const middle = (next + above) / 2;
          const text = (middle + off * middle * 2 ** -52).toExponential(digits);
          expect(floats(read("float32", [1], `[${text}]`))).toEqual([Math.fround(Number(text))]);
        },
      ),
    );
  });

  test("are numbers of JSON and nothing else", () => {
    const alphabet = fc.constantFrom(..."0123456789.eE+-");
    const likely = fc.constantFrom(
      "0",
      "-0",
      "1.",
      ".5",
      "+1",
      "01",
      "1e",
      "1e+",
      "--1",
      "1.e1",
      "NaN",
    );
    const texts = fc.oneof(fc.string({ unit: alphabet, maxLength: 8 }), likely);
    fc.assert(
      fc.property(texts, (text) => {
        let expected: unknown;
        try {
          expected = JSON.parse(text);
        } catch {
          expected = undefined;
        }
        const found = read("float64", [1], `[${text}]`);
        if (typeof expected === "number" && Number.isFinite(expected)) {
          expect(Object.is(doubles(found)[0], expected)).toBe(true);
        } else expect(typeof found).toBe("string");
      }),
      { numRuns: 1000 },
    );
  });

  test.each<[DType, bigint, bigint]>([
    ["int64", -(2n ** 63n), 2n ** 63n - 1n],
    ["uint64", 0n, 2n ** 64n - 1n],
  ])("%s keeps every digit, and its bounds", (dtype, low, high) => {
    const around = fc.bigInt({ min: low - 3n, max: high + 3n });
    const near = fc.constantFrom(low, high, low - 1n, high + 1n, 2n ** 53n + 1n, 0n, 1n);
    fc.assert(
      fc.property(fc.oneof(around, near), (value) => {
        const found = read(dtype, [1], `[${value}]`);
        if (value < low || value > high) expect(found).toMatch(/is no U?INT64/);
        else expect(written(tensorOf(found))).toBe(`[${value}]`);
        // The same number with a point, and with a power of ten.
        for (const text of [`${value}.000`, `${value}.0e0`]) {
          expect(read(dtype, [1], `[${text}]`)).toEqual(
            typeof found === "string" ? expect.stringMatching(/is no U?INT64/) : found,
          );
        }
      }),
    );
  });

  test.each([
    ["1e18", "1000000000000000000"],
    ["-9.223372036854775808e18", "-9223372036854775808"],
    ["0e99", "0"],
    ["0.0e-99", "0"],
    ["12300E-2", "123"],
  ])("%s is the INT64 %s", (text, value) => {
    expect(written(tensorOf(read("int64", [1], `[${text}]`)))).toBe(`[${value}]`);
  });

  test.each<[DType, string]>([
    ["int8", "[-128,0,127]"],
    ["uint8", "[0,7,255]"],
    ["int16", "[-32768,1,32767]"],
    ["uint16", "[0,1,65535]"],
    ["int32", "[-2147483648,1,2147483647]"],
    ["uint32", "[4294967295,0,1]"],
    ["bool", "[true,false,true]"],
    ["float64", "[0.1,-2,1e+300]"],
    ["string", '["","é\\u0000","\\"\\\\"]'],
  ])("%s there and back: %s", (dtype, text) => {
    expect(written(tensorOf(read(dtype, [3], text)))).toBe(text);
  });

  test("integers written as 1.0 and 1e2 are integers; truth values may be 1 and 0", () => {
    expect(written(tensorOf(read("int32", [2], "[1.0, 1e2]")))).toBe("[1,100]");
    expect(written(tensorOf(read("int64", [2], "[1.0, -1e2]")))).toBe("[1,-100]");
    expect(written(tensorOf(read("bool", [2], "[1, 0]")))).toBe("[true,false]");
  });
});

describe("tensors in JSON", () => {
  const shaped = fc.tuple(fc.nat(3), fc.nat(3), fc.nat(3)).chain((shape) => {
    const count = shape.reduce((a, b) => a * b, 1);
    return fc.record({
      shape: fc.constant(shape as number[]),
      values: fc.array(fc.float({ noNaN: true, noDefaultInfinity: true }), {
        minLength: count,
        maxLength: count,
      }),
      space: fc.constantFrom("", " ", "\n\t "),
    });
  });

  const nest = (values: number[], shape: number[]): unknown => {
    const [length = 0, ...rest] = shape;
    if (rest.length === 0) return values;
    const each = rest.reduce((a, b) => a * b, 1);
    return Array.from({ length }, (_, i) => nest(values.slice(i * each, (i + 1) * each), rest));
  };

  test("flat and nested data are the same tensor, row by row", () => {
    fc.assert(
      fc.property(shaped, ({ shape, values, space }) => {
        const flat = JSON.stringify(values).replaceAll(",", `${space},${space}`);
        const one = read("float32", shape, flat);
        expect(floats(one)).toEqual(values.map((value) => (value === 0 ? 0 : value)));
        const rows = JSON.stringify(nest(values, shape), null, space.length);
        expect(read("float32", shape, rows)).toEqual(one);
      }),
    );
  });

  test("what is accepted is what JSON.parse says, whatever byte is changed", () => {
    fc.assert(
      fc.property(
        shaped,
        fc.nat(),
        fc.constantFrom(...'[]{},:"\\0123-.e nft'),
        (made, at, byte) => {
          const text = JSON.stringify(nest(made.values, made.shape));
          const place = at % text.length;
          const changed = text.slice(0, place) + byte + text.slice(place + 1);
          const found = read("float32", made.shape, changed);
          if (typeof found === "string") return;
          const parsed = (JSON.parse(changed) as unknown[]).flat(9) as number[];
          expect(floats(found)).toEqual(parsed.map((value) => Math.fround(value)));
        },
      ),
      { numRuns: 800 },
    );
  });

  test.each<[DType, readonly number[], string, RegExp]>([
    ["float32", [2], "[1]", /2 elements, its data 1/],
    ["float32", [9000], "[1]", /9000 elements, more than its data/],
    ["float32", [1], "[1,2]", /more elements than its shape/],
    ["float32", [2, 2], "[[1,2],[3]]", /row of its data has 1/],
    ["float32", [2, 2], "[[1,2]]", /1 rows where/],
    ["float32", [2, 2], "[[1,2],3,4]", /no array/],
    ["float32", [2, 2], "[1,2,[3,4]]", /where a number is expected/],
    ["float32", [2], "[[1],[2]]", /nested, but not/],
    ["float32", [1], "[[[[1]]]]", /nested, but not/],
    ["float32", [1], '["1"]', /where a number is expected/],
    ["float32", [1], "[null]", /"null" where a number/],
    ["float32", [1], "[true]", /"true" where a number/],
    ["float32", [1], "null", /no array/],
    ["float32", [1], "[NaN]", /has NaN.*binary/],
    ["float32", [1], "[-Infinity]", /has -Infinity.*binary/],
    ["float32", [1], "[1e39]", /1e39, is no FP32/],
    ["float64", [1], "[1e999]", /1e999, is no FP64/],
    ["float32", [1], "[1]]", /followed by something else/],
    ["float32", [1], "[1,]", /where a number is expected|more elements/],
    ["float32", [2], "[1,]", /where a number is expected/],
    ["float32", [1], "[1  ", /comma or a bracket/],
    ["int8", [1], "[128]", /128, is no INT8/],
    ["int32", [1], "[1.5]", /1.5, is no INT32/],
    ["int64", [1], "[1.5]", /1.5, is no INT64/],
    ["int64", [1], "[1.5e0]", /1.5e0, is no INT64/],
    ["int64", [1], "[9007199254740993.5]", /is no INT64/],
    ["int64", [1], "[1e99999999]", /no INT64|no number/],
    ["int64", [1], "[1e19]", /1e19, is no INT64/],
    ["uint64", [1], "[-1]", /-1, is no UINT64/],
    ["uint64", [1], `[${"9".repeat(999)}]`, /is no UINT64/],
    ["float64", [1], `[${"9".repeat(2000)}]`, /more than 1000 characters/],
    ["bool", [1], "[2]", /neither true nor false/],
    ["bool", [1], "[trub]", /neither true nor false/],
    ["string", [1], "[1]", /no string/],
    ["string", [1], '["a]', /no end/],
    ["string", [1], '["\\ud800"]', /UTF-8/],
    ["string", [1], '["\\x"]', /no string of JSON/],
    ["string", [1], '["a\nb"]', /no string of JSON/],
    ["float16", [1], "[1]", /FP16 elements cannot/],
    ["float32", [2 ** 30, 2 ** 30], "[]", /more elements than a request/],
    ["float32", [2 ** 40, 2 ** 40], "[]", /more elements than a request/],
    ["string", [2 ** 25], "[]", /more elements than a request/],
  ])("%s%j of %.40s is refused", (dtype, shape, text, why) => {
    expect(read(dtype, shape, text)).toMatch(why);
  });

  test("strings are UTF-8 in the protocol's form, whatever is in them", () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: "binary", maxLength: 12 }), { maxLength: 4 }),
        (texts) => {
          const found = tensorOf(read("string", [texts.length], JSON.stringify(texts)));
          const elements = texts.map((text) => Buffer.from(text));
          expect(Buffer.from(found.data.bytes)).toEqual(Buffer.from(bytesOfElements(elements)));
          expect(bytesFault(found.data.bytes, texts.length)).toBeUndefined();
          expect(
            [...bytesElements(found.data.bytes)].map((one) => String(Buffer.from(one))),
          ).toEqual(texts);
          expect(JSON.parse(written(found))).toEqual(texts);
        },
      ),
    );
  });

  test("strings that are no text cannot be written", () => {
    const bytes = bytesOfElements([Uint8Array.of(0xff)]);
    const value: Tensor = { dtype: "string", shape: [1], data: { kind: "bytes", bytes } };
    expect(new JsonWriter().elements(value)).toBe(false);
  });
});

describe("floats as text", () => {
  const bits = fc.integer({ min: 0, max: 2 ** 32 - 1 });

  test("are those floats again, in at most nine digits", () => {
    fc.assert(
      fc.property(fc.array(bits, { minLength: 1, maxLength: 20 }), (patterns) => {
        const values = new Float32Array(Uint32Array.from(patterns).buffer);
        const found = JSON.parse(written(float32([values.length], values))) as (number | null)[];
        for (const [i, value] of values.entries()) {
          if (!Number.isFinite(value)) expect(found[i]).toBeNull();
          else {
            expect(Object.is(Math.fround(found[i] ?? 0), value)).toBe(true);
            const digits = String(found[i])
              .replace(/e.*|[-.]/g, "")
              .replace(/^0+|0+$/g, "");
            expect(digits.length).toBeLessThanOrEqual(9);
          }
        }
      }),
      { numRuns: 800 },
    );
  });

  test.each<[number, string]>([
    [0.1, "0.1"],
    [-0, "-0.0"],
    [1 / 3, "0.33333334"],
    [100, "100"],
    [16_777_216, "16777216"],
    [0.000001, "0.000001"],
    [1.5e-7, "1.5e-7"],
    [1e10, "1e10"],
    [3.4028234663852886e38, "3.4028235e38"],
    [1.401298464324817e-45, "1e-45"],
    [Number.NaN, "null"],
    [Number.NEGATIVE_INFINITY, "null"],
  ])("%s is %s", (value, text) => {
    expect(written(float32([1], [value]))).toBe(`[${text}]`);
  });

  test("views that are not aligned are read as well", () => {
    const bytes = new Uint8Array(9);
    bytes.set(bytesOf(Float32Array.of(1.5, -2)), 1);
    const view = tensor("float32", [2], bytes.subarray(1));
    expect(written(view)).toBe("[1.5,-2]");
    const many = tensor("int64", [1], bytesOf(BigInt64Array.of(9007199254740993n)));
    expect(written(many)).toBe("[9007199254740993]");
  });

  test("more elements than one block", () => {
    for (const dtype of ["int32", "float32"] as const) {
      const values = Array.from({ length: 10_000 }, (_, i) => i - 5000);
      const text = JSON.stringify(values);
      expect(written(tensorOf(read(dtype, [10_000], text)))).toBe(text);
    }
    const truths = tensor("bool", [10_000], new Uint8Array(10_000).fill(1));
    expect(JSON.parse(written(truths))).toHaveLength(10_000);
  });
});

describe("outlines", () => {
  const KEYS = ["inputs", "data", "name", "da\\u0074a", "inp\\u0075ts", "x"];
  const field = (value: fc.Arbitrary<string>): fc.Arbitrary<string> =>
    fc
      .array(fc.tuple(fc.constantFrom(...KEYS), value), { maxLength: 4 })
      .map((fields) => `{${fields.map(([key, text]) => `"${key}" :\t${text}`).join(" , ")}}`);
  const leaf = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }).map((value) => JSON.stringify(value)),
    fc.constantFrom('"]}"', '"\\""', "[1,2]", '[ "a", [2] ]', "[]", "7"),
  );
  const entry = fc.oneof(field(leaf), leaf, field(field(leaf)));
  const list = fc.array(entry, { maxLength: 3 }).map((all) => `[${all.join(",")}]`);
  const document = field(fc.oneof(list, leaf, entry, field(list)));

  /** As JSON.parse has it, with the data of inputs taken out in the order of the text. */
  function reference(text: string): unknown {
    return JSON.parse(text);
  }

  /** Puts the data back in its places. */
  function filled(found: unknown, text: string, places: readonly { from: number; to: number }[]) {
    const bytes = Buffer.from(text);
    const { inputs } = Object(found) as { inputs?: unknown };
    if (!Array.isArray(inputs)) return found;
    for (const one of inputs) {
      if (typeof one !== "object" || one === null || Array.isArray(one)) continue;
      const fields = one as { data?: unknown };
      if (fields.data === undefined) continue;
      const place = places[Number(fields.data)];
      if (place === undefined) throw new Error("data that stayed");
      fields.data = JSON.parse(bytes.toString("utf8", place.from, place.to));
    }
    return found;
  }

  test("are the document, with the data of its inputs in their places", () => {
    fc.assert(
      fc.property(document, (text) => {
        const outline = outlineOf(Buffer.from(text));
        if ("fault" in outline) {
          expect(outline.fault, text).toContain("two fields of data");
          return;
        }
        expect(filled(outline.document, text, outline.places)).toEqual(reference(text));
      }),
      { numRuns: 800 },
    );
  });

  test("of broken text are a fault, or are whole", () => {
    fc.assert(
      fc.property(document, fc.nat(), fc.constantFrom(...'[]{},:"\\0 a'), (text, at, byte) => {
        const place = at % text.length;
        const changed = text.slice(0, place) + byte + text.slice(place + 1);
        const outline = outlineOf(Buffer.from(changed));
        if ("fault" in outline) return;
        for (const { from, to } of outline.places) expect(to).toBeGreaterThan(from);
      }),
      { numRuns: 800 },
    );
  });

  test("nesting, objects, fields of data and what stands beside are bounded before anything is built", () => {
    const faultOf = (text: string): unknown => outlineOf(Buffer.from(text));
    expect(faultOf("[".repeat(100_000))).toMatchObject({
      fault: expect.stringContaining("deeper"),
    });
    const objects = (count: number): string => `[${'{"{":0},'.repeat(count - 1)}{}]`;
    expect(faultOf(objects(limits.jsonObjectsMax))).toHaveProperty("document");
    expect(faultOf(objects(limits.jsonObjectsMax + 1))).toMatchObject({
      fault: expect.stringContaining("objects"),
    });
    const fields = '"data":1,'.repeat(limits.jsonObjectsMax + 1);
    expect(faultOf(`{"inputs":[{${fields}"x":1}]}`)).toMatchObject({
      fault: expect.stringContaining("fields of data"),
    });
    expect(faultOf(`{"x":"${"a".repeat(limits.jsonOutlineBytesMax)}"}`)).toMatchObject({
      fault: expect.stringContaining("beside the data"),
    });
    expect(faultOf("{")).toHaveProperty("fault");
    expect(parseJson(Buffer.from('"[[[[\\"[["'))).toEqual({ value: '[[[["[[' });
  });

  test("take linear time on long hostile text", () => {
    for (const text of [
      `"${"\\".repeat(2_000_000)}`,
      "1".repeat(2_000_000),
      `["${'a"'.repeat(500_000)}`,
      `{"inputs":[{"data":${"[".repeat(2_000_000)}`,
      `{"inputs":[${'{"data":['.repeat(200_000)}`,
      `{"inputs":[{"data":["${'\\"'.repeat(1_000_000)}`,
    ]) {
      outlineOf(Buffer.from(text));
      read("string", [1], text);
    }
  });
});
