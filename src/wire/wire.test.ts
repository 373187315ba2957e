import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { limits } from "../base/limits.ts";
import type { DType } from "../graph/dtype.ts";
import {
  bytesOf,
  float32,
  float32Values,
  int64Values,
  type Tensor,
  tensor,
} from "../graph/tensor.ts";
import { datatypeOf, dtypeOf } from "./datatype.ts";
import { answerFaults, encodeInferResponse, outputFaults, parseInferRequest } from "./infer.ts";
import { ExactNumber, tensorFromJson, tensorToJson } from "./json-tensor.ts";
import { parseJson } from "./parse-json.ts";

function jsonOf(text: string): unknown {
  const parsed = parseJson(text);
  if ("fault" in parsed) throw new Error(parsed.fault);
  return parsed.value;
}

/** With the integers that are kept in full rounded, as JSON.parse rounds them. */
function rounded(value: unknown): unknown {
  if (value instanceof ExactNumber) return Number(value.text);
  if (Array.isArray(value)) return value.map(rounded);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, rounded(one)]));
}

function requestOf(body: unknown) {
  return parseInferRequest(jsonOf(JSON.stringify(body)));
}

const input = { name: "x", shape: [2, 2], datatype: "FP32", data: [1, 2, 3, 4] };

describe("JSON of requests", () => {
  test("is JSON: whatever JSON.parse says of numbers that it does not round", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = JSON.stringify(value);
        expect(rounded(jsonOf(text))).toEqual(JSON.parse(text));
      }),
    );
  });

  test.each(["9007199254740993", "-9223372036854775808", "18446744073709551615"])(
    "keeps every digit of %s",
    (digits) => {
      const value = jsonOf(`[${digits}]`) as ExactNumber[];
      expect(value[0]?.text ?? value[0]).toBe(digits);
    },
  );

  test("long digits inside strings and long fractions stay what they are", () => {
    const text =
      '{"a": "12345678901234567890", "b": 0.12345678901234567890, "c": 12345678901234567890e2}';
    expect(jsonOf(text)).toEqual(JSON.parse(text));
  });

  test("long integers are bounded in number, and in length", () => {
    const list = (count: number): string => `[${"1234567890123456789,".repeat(count - 1)}0]`;
    expect(parseJson(list(1000))).toHaveProperty("value");
    expect(parseJson(list(limits.jsonLongIntegersMax + 2))).toMatchObject({
      fault: expect.stringContaining("sixteen or more digits"),
    });
    expect(parseJson(`[${"7".repeat(10_000_000)}]`)).toMatchObject({
      fault: expect.stringContaining("thousand digits"),
    });
  });

  test("nesting is bounded before anything is built", () => {
    expect(parseJson("[".repeat(100_000))).toMatchObject({
      fault: expect.stringContaining("deeper"),
    });
    expect(parseJson('"[[[[\\"[["')).toEqual({ value: '[[[["[[' });
    expect(parseJson("{")).toHaveProperty("fault");
    const objects = (count: number): string => `[${'{"{":0},'.repeat(count - 1)}{}]`;
    expect(parseJson(objects(limits.jsonObjectsMax))).toHaveProperty("value");
    expect(parseJson(objects(limits.jsonObjectsMax + 1))).toMatchObject({
      fault: expect.stringContaining("objects"),
    });
  });

  test("takes linear time on long hostile text", () => {
    for (const text of [
      `"${"\\".repeat(200_000)}`,
      "1".repeat(200_000),
      `["${'a"'.repeat(50_000)}`,
      `[1234567890123456,"${'\\"'.repeat(1_000_000)}\\`,
      `[${"-".repeat(1_000_000)}1234567890123456`,
    ]) {
      parseJson(text);
    }
  });
});

describe("tensors in JSON", () => {
  const flat = fc.tuple(fc.nat(3), fc.nat(3), fc.nat(3)).chain((shape) => {
    const count = shape.reduce((a, b) => a * b, 1);
    return fc.record({
      shape: fc.constant(shape as number[]),
      values: fc.array(fc.float({ noNaN: true, noDefaultInfinity: true }), {
        minLength: count,
        maxLength: count,
      }),
    });
  });

  test("flat and nested data are the same tensor, row by row", () => {
    const nest = (values: number[], shape: number[]): unknown => {
      const [length = 0, ...rest] = shape;
      if (rest.length === 0) return values;
      const each = rest.reduce((a, b) => a * b, 1);
      return Array.from({ length }, (_, i) => nest(values.slice(i * each, (i + 1) * each), rest));
    };
    fc.assert(
      fc.property(flat, ({ shape, values }) => {
        const one = tensorFromJson("float32", shape, values) as Tensor;
        expect([...float32Values(one)]).toEqual(values);
        if (values.length === 0) return;
        expect(tensorFromJson("float32", shape, nest(values, shape))).toEqual(one);
      }),
    );
  });

  test.each<[DType, string]>([
    ["int64", "[-9223372036854775808,9007199254740993,9223372036854775807]"],
    ["uint64", "[0,9007199254740993,18446744073709551615]"],
    ["int8", "[-128,0,127]"],
    ["uint32", "[4294967295,0,1]"],
    ["bool", "[true,false,true]"],
    ["float64", "[0.1,-2,1e+300]"],
  ])("%s there and back: %s", (dtype, text) => {
    const value = tensorFromJson(dtype, [3], jsonOf(text)) as Tensor;
    expect(tensorToJson(value)).toBe(text);
  });

  test("int64 beyond 2^53 is exact in the bytes", () => {
    const value = tensorFromJson("int64", [1], jsonOf("[9007199254740993]")) as Tensor;
    expect(int64Values(value)[0]).toBe(9007199254740993n);
  });

  test("an integer of 999 digits is out of range before it is computed", () => {
    const digits = jsonOf(`[${"9".repeat(999)}]`);
    expect(tensorFromJson("uint64", [1], digits)).toMatch(/no uint64/);
  });

  test.each<[DType, readonly number[], unknown, RegExp]>([
    ["float32", [2], [1], /2 elements, its data 1/],
    ["float32", [1], [1, 2], /2 elements, its shape 1/],
    ["float32", [2, 2], [[1, 2], [3]], /row of its data has 1/],
    ["float32", [2], [[1], [2]], /nested, but not/],
    ["float32", [1], ["1"], /no number/],
    ["float32", [1], null, /no array/],
    ["int8", [1], [128], /is no int8/],
    ["int32", [1], [1.5], /is no int32/],
    ["int64", [1], [1.5], /is no int64/],
    ["uint64", [1], [-1], /is no uint64/],
    ["bool", [1], [2], /neither true nor false/],
    ["float32", [2 ** 30, 2 ** 30], [], /more elements/],
  ])("%s%j of %j is refused", (dtype, shape, data, why) => {
    expect(tensorFromJson(dtype, shape, data)).toMatch(why);
  });

  test("what JSON has no word for is null", () => {
    const value = float32([3], [Number.NaN, Number.POSITIVE_INFINITY, 1]);
    expect(tensorToJson(value)).toBe("[null,null,1]");
  });
});

describe("requests", () => {
  test("a request with all its parts; what is not known is ignored", () => {
    const parsed = requestOf({
      id: "7",
      inputs: [input],
      outputs: [{ name: "y" }],
      model_name: "m",
      parameters: {},
    });
    expect(parsed).toMatchObject({ request: { id: "7", outputs: [{ name: "y" }] } });
    if (!("request" in parsed)) return;
    expect([...float32Values(parsed.request.inputs.get("x") as Tensor)]).toEqual([1, 2, 3, 4]);
  });

  test.each<[string, unknown, readonly string[]]>([
    ["no object", [1], ["request"]],
    ["no inputs", {}, ["inputs"]],
    ["empty inputs", { inputs: [] }, ["inputs"]],
    ["an input without a name", { inputs: [{ ...input, name: undefined }] }, ["inputs[0]"]],
    ["a name given twice", { inputs: [input, input] }, ['input "x"']],
    ["no shape and no type", { inputs: [{ name: "x", data: [] }] }, ['input "x"', 'input "x"']],
    ["a negative size", { inputs: [{ ...input, shape: [-1] }] }, ['input "x"']],
    ["an unknown type", { inputs: [{ ...input, datatype: "FP31" }] }, ['input "x"']],
    [
      "half floats, which JSON cannot carry",
      { inputs: [{ ...input, datatype: "FP16" }] },
      ['input "x"'],
    ],
    ["bytes", { inputs: [{ ...input, datatype: "BYTES" }] }, ['input "x"']],
    ["an id that is a number, and no inputs", { id: 7 }, ["id", "inputs"]],
    ["outputs that are no array", { inputs: [input], outputs: "y" }, ["outputs"]],
    [
      "an output asked for twice",
      { inputs: [input], outputs: [{ name: "y" }, { name: "y" }] },
      ['output "y"'],
    ],
  ])("%s", (_what, body, where) => {
    const parsed = requestOf(body);
    expect("faults" in parsed && parsed.faults.map((one) => one.where)).toEqual(where);
  });

  test("a list of very many tensors is one fault, not one for each", () => {
    const many = Array.from({ length: limits.requestTensorsMax + 1 }, () => 0);
    expect(requestOf({ inputs: many, outputs: many })).toMatchObject({
      faults: [{ where: "inputs" }, { where: "outputs" }],
    });
  });

  test("anything at all is a request or has faults", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const parsed = requestOf({ inputs: value, outputs: value, id: value });
        if ("faults" in parsed) expect(parsed.faults.length).toBeGreaterThan(0);
      }),
    );
  });
});

describe("responses", () => {
  test("the document, with 64-bit integers in full", () => {
    const outputs = new Map([
      ["y", tensor("int64", [1], bytesOf(BigInt64Array.of(9007199254740993n)))],
    ]);
    const text = encodeInferResponse({ model: 'm"', version: 2, id: "a", outputs });
    expect(text).toBe(
      '{"model_name":"m\\"","model_version":"2","id":"a","outputs":[{"name":"y","datatype":"INT64","shape":[1],"data":[9007199254740993]}]}',
    );
  });

  test("what cannot be sent as JSON is a fault, not an empty list", () => {
    const outputs = new Map([
      ["half", { dtype: "float16" as const, shape: ["N"] }],
      ["text", { dtype: "string" as const, shape: undefined }],
      ["y", { dtype: "float32" as const, shape: ["N"] }],
    ]);
    expect(outputFaults(outputs, undefined).map((one) => one.where)).toEqual([
      'output "half"',
      'output "text"',
    ]);
    expect(outputFaults(outputs, [{ name: "y" }])).toEqual([]);
    const count = limits.responseElementsMax;
    const zeros = (size: number) => tensor("bool", [size], new Uint8Array(size));
    expect(answerFaults(new Map([["y", zeros(count)]]))).toEqual([]);
    const two = new Map([
      ["y", zeros(count)],
      ["z", zeros(1)],
    ]);
    expect(answerFaults(two)).toMatchObject([{ id: "request/answer-too-large" }]);
  });

  test("names of types", () => {
    expect(dtypeOf("BF16")).toBe("bfloat16");
    expect(datatypeOf("int4")).toBe("INT4");
  });
});
