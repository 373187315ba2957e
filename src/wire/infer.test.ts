import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { limits } from "../base/limits.ts";
import { type DType, dtypeBytes } from "../graph/dtype.ts";
import type { ValueType } from "../graph/graph.ts";
import { float32, float32Values, type Tensor, tensor } from "../graph/tensor.ts";
import { classified } from "./classification.ts";
import { datatypeOf, dtypeOf } from "./datatype.ts";
import { parseInferRequest } from "./infer.ts";
import type { InferRequest, ParsedRequest } from "./request.ts";
import { encodeInferResponse, outputFaults } from "./response.ts";
import { bytesElements, bytesOfElements } from "./strings.test-helper.ts";

const NO_INPUTS = new Map<string, ValueType>();

function parsed(body: unknown): ParsedRequest {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return parseInferRequest(Buffer.from(text), { inputs: NO_INPUTS });
}

function parsedBinary(json: unknown, tail: Uint8Array, headerLength?: string): ParsedRequest {
  const text = Buffer.from(JSON.stringify(json));
  const header = headerLength ?? String(text.byteLength);
  return parseInferRequest(Buffer.concat([text, tail]), {
    headerLength: header,
    inputs: NO_INPUTS,
  });
}

function requestOf(found: ParsedRequest): InferRequest {
  if ("faults" in found) throw new Error(JSON.stringify(found.faults));
  return found.request;
}

function textsOf(found: ParsedRequest): string[] {
  return "faults" in found ? found.faults.map((one) => `${one.where}: ${one.text}`) : [];
}

const input = { name: "x", shape: [2, 2], datatype: "FP32", data: [1, 2, 3, 4] };

function binary(name: string, datatype: string, shape: readonly number[], size: number) {
  return { name, shape, datatype, parameters: { binary_data_size: size } };
}

interface Repeated {
  readonly shape: readonly number[];
  readonly datatype: string;
  readonly content: string;
  readonly tail: number;
}

/** Right and wrong content for few forms, so that most forms have been seen before. */
const repeated = fc.record({
  shape: fc.constantFrom([2], [1, 2], [3]),
  datatype: fc.constantFrom("FP32", "INT32", "FP16", "BYTES", "BOOL"),
  content: fc.constantFrom(
    "[1, 2]",
    "[1]",
    '["a", "b"]',
    "[true, 0]",
    "5",
    "[[1], 2]",
    "[1,",
    "8 bytes",
  ),
  tail: fc.constantFrom(0, 8, 9),
});

describe("what was read before is read the same again", () => {
  test("as a request that nobody has seen", () => {
    let seen = 0;
    const read = ({ shape, datatype, content, tail }: Repeated, parameters: object) => {
      const place =
        content === "8 bytes" ? '"parameters": {"binary_data_size": 8}' : `"data": ${content}`;
      const head = `{"parameters": ${JSON.stringify(parameters)}, "inputs": [{"name": "x", "shape": ${JSON.stringify(shape)}, "datatype": "${datatype}", ${place}}]}`;
      return parseInferRequest(Buffer.concat([Buffer.from(head), Buffer.alloc(tail)]), {
        headerLength: String(Buffer.byteLength(head)),
        inputs: NO_INPUTS,
      });
    };
    fc.assert(
      fc.property(repeated, (one) => {
        const again = read(one, {});
        // Its text is new each time.
        const anew = read(one, { nonce: seen++ });
        const wanted =
          "faults" in anew ? anew : { request: { ...anew.request, parameters: new Map() } };
        expect(again).toEqual(wanted);
      }),
      { numRuns: 400 },
    );
  });
});

describe("requests", () => {
  test("a request with all its parts; what is not known is ignored", () => {
    const { id, inputs, outputs, parameters } = requestOf(
      parsed({
        id: "7",
        inputs: [{ ...input, parameters: { content_type: "np" } }],
        outputs: [
          { name: "y", parameters: { binary_data: true, classification: 3 } },
          { name: "z" },
        ],
        model_name: "m",
        parameters: { timeout: 5, own: "a", flag: true },
      }),
    );
    expect(id).toBe("7");
    expect(outputs).toEqual([{ name: "y", binary: true, classification: 3 }, { name: "z" }]);
    expect([...parameters]).toEqual([
      ["timeout", 5],
      ["own", "a"],
      ["flag", true],
    ]);
    expect([...float32Values(inputs.get("x") as Tensor)]).toEqual([1, 2, 3, 4]);
  });

  test("fields may come in any order, their names escaped", () => {
    const text =
      '{"inputs":[{"d\\u0061ta":[[1,2],[3,4]],"datatype":"FP32","shape":[2,2],"name":"x"}]}';
    const { inputs } = requestOf(parsed(text));
    expect([...float32Values(inputs.get("x") as Tensor)]).toEqual([1, 2, 3, 4]);
  });

  test("an input with two fields of data is refused: programs differ in which one counts", () => {
    const one = (data: string) => `{"name":"x","datatype":"FP32","shape":[1],${data}}`;
    const twice = one('"data":[1],"d\\u0061ta":[2]');
    expect(textsOf(parsed(`{"inputs":[${twice}]}`))).toEqual([
      expect.stringContaining("two fields of data"),
    ]);
    const other = one('"data":[1]').replace('"x"', '"z"');
    expect(requestOf(parsed(`{"inputs":[${one('"data":[1]')},${other}]}`)).inputs.size).toBe(2);
  });

  test.each<[string, unknown, readonly string[]]>([
    ["no object", [1], ["request"]],
    ["no inputs", {}, ["inputs"]],
    ["empty inputs", { inputs: [] }, ["inputs"]],
    ["an input without a name", { inputs: [{ ...input, name: undefined }] }, ["inputs[0]"]],
    ["a name given twice", { inputs: [input, input] }, ['input "x"']],
    ["no shape and no type", { inputs: [{ name: "x", data: [] }] }, ['input "x"', 'input "x"']],
    ["no data", { inputs: [{ ...input, data: undefined }] }, ['input "x"']],
    ["a negative size", { inputs: [{ ...input, shape: [-1] }] }, ['input "x"']],
    ["a size that is text", { inputs: [{ ...input, shape: ["2", "2"] }] }, ['input "x"']],
    ["an unknown type", { inputs: [{ ...input, datatype: "FP31" }] }, ['input "x"']],
    ["half floats", { inputs: [{ ...input, datatype: "FP16" }] }, ['input "x"']],
    ["an id that is a number, and no inputs", { id: 7 }, ["id", "inputs"]],
    ["outputs that are no array", { inputs: [input], outputs: "y" }, ["outputs"]],
    [
      "an output asked for twice",
      { inputs: [input], outputs: [{ name: "y" }, { name: "y" }] },
      ['output "y"'],
    ],
    [
      "parameters of other types",
      { inputs: [input], parameters: { a: [1], b: null } },
      ["parameters", "parameters"],
    ],
    [
      "a form that is no truth value",
      { inputs: [input], parameters: { binary_data_output: 1 } },
      ["parameters"],
    ],
    [
      "shared memory",
      { inputs: [{ ...input, parameters: { shared_memory_region: "r" } }] },
      ['input "x"'],
    ],
    [
      "no classes",
      { inputs: [input], outputs: [{ name: "y", parameters: { classification: 0 } }] },
      ['output "y"'],
    ],
  ])("%s", (_what, body, where) => {
    const found = parsed(body);
    expect("faults" in found && found.faults.map((one) => one.where)).toEqual(where);
  });

  test("a list of very many tensors is one fault, not one for each", () => {
    const many = Array.from({ length: limits.requestTensorsMax + 1 }, () => 0);
    expect(parsed({ inputs: many, outputs: many })).toMatchObject({
      faults: [{ where: "inputs" }, { where: "outputs" }],
    });
  });

  test("bytes that are no text", () => {
    const bytes = Buffer.concat([Buffer.from('{"inputs":["'), Buffer.of(0xff), Buffer.from('"]}')]);
    const found = parseInferRequest(bytes, { inputs: NO_INPUTS });
    expect(textsOf(found)).toEqual(["request: the JSON is no UTF-8 text"]);
  });

  test("anything at all is a request or has faults", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const found = parsed({ inputs: value, outputs: value, id: value, parameters: value });
        if ("faults" in found) expect(found.faults.length).toBeGreaterThan(0);
      }),
    );
  });
});

const NUMERIC: readonly DType[] = [
  ...(["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"] as const),
  ...(["float16", "bfloat16", "float32", "float64"] as const),
];

describe("binary tensors", () => {
  const tensors = fc.array(
    fc.constantFrom(...NUMERIC, "string" as const).chain((dtype) =>
      fc.array(fc.uint8Array({ minLength: 8, maxLength: 8 }), { maxLength: 4 }).map((rows) => {
        const bytes =
          dtype === "string"
            ? bytesOfElements(rows)
            : Buffer.concat(rows)
                .subarray(0, dtypeBytes(dtype, rows.length))
                .map((byte) => (dtype === "bool" ? byte & 1 : byte));
        return { dtype, count: rows.length, bytes: new Uint8Array(bytes) };
      }),
    ),
    { minLength: 1, maxLength: 5 },
  );

  test("are the bytes behind the JSON, input by input, and go back so", () => {
    fc.assert(
      fc.property(tensors, (sent) => {
        const listed = sent.map(({ dtype, count, bytes }, i) =>
          binary(`in${i}`, datatypeOf(dtype), [count], bytes.byteLength),
        );
        const tail = Buffer.concat(sent.map((one) => one.bytes));
        const request = requestOf(
          parsedBinary({ inputs: listed, parameters: { binary_data_output: true } }, tail),
        );
        const outputs = request.inputs;
        for (const [i, one] of sent.entries()) {
          expect(Buffer.from(outputs.get(`in${i}`)?.data.bytes ?? [])).toEqual(
            Buffer.from(one.bytes),
          );
        }
        const answer = encodeInferResponse({ model: "m", version: 1, request, outputs });
        if ("faults" in answer) throw new Error("no answer");
        const all = Buffer.concat(answer.chunks);
        const head = JSON.parse(all.toString("utf8", 0, answer.headerLength)) as {
          outputs: { parameters: { binary_data_size: number } }[];
        };
        expect(head.outputs.map((one) => one.parameters.binary_data_size)).toEqual(
          sent.map((one) => one.bytes.byteLength),
        );
        expect(all.subarray(answer.headerLength)).toEqual(tail);
      }),
    );
  });

  test("JSON and bytes in one request; tensors are views of the body", () => {
    const tail = new Uint8Array(Float32Array.of(5, 6).buffer);
    const text = Buffer.from(JSON.stringify({ inputs: [input, binary("b", "FP32", [2], 8)] }));
    const body = Buffer.concat([text, tail]);
    const found = parseInferRequest(body, {
      headerLength: `${text.byteLength}`,
      inputs: NO_INPUTS,
    });
    const { inputs } = requestOf(found);
    const b = inputs.get("b") as Tensor;
    expect([...float32Values(b)]).toEqual([5, 6]);
    expect(b.data.bytes.buffer).toBe(body.buffer);
    expect([...float32Values(inputs.get("x") as Tensor)]).toEqual([1, 2, 3, 4]);
  });

  test.each<[string, unknown, number, RegExp]>([
    ["too few bytes", binary("x", "FP32", [2], 8), 7, /7 bytes of the body are left/],
    [
      "bytes that belong to none",
      binary("x", "FP32", [2], 8),
      9,
      /1 bytes of the body belong to no/,
    ],
    ["a size that is not that of the shape", binary("x", "FP32", [2], 4), 4, /takes 8 bytes/],
    ["a negative size", binary("x", "FP32", [2], -8), 8, /no number of bytes/],
    [
      "a size that is no number",
      { ...binary("x", "FP32", [2], 8), parameters: { binary_data_size: "8" } },
      8,
      /no number of bytes/,
    ],
    ["a shape beyond all bytes", binary("x", "FP32", [2 ** 40, 2 ** 40], 8), 8, /more elements/],
    ["strings that end too early", binary("x", "BYTES", [1], 8), 8, /end inside element 0/],
    [
      "data besides",
      { ...binary("x", "FP32", [1], 4), data: [1] },
      4,
      /both data and binary_data_size/,
    ],
  ])("%s", (_what, one, bytes, why) => {
    const tail = new Uint8Array(bytes).fill(7);
    expect(textsOf(parsedBinary({ inputs: [one] }, tail)).join()).toMatch(why);
  });

  test("truth values are 0 and 1", () => {
    const found = parsedBinary({ inputs: [binary("x", "BOOL", [2], 2)] }, Uint8Array.of(1, 2));
    expect(textsOf(found).join()).toMatch(/neither 0 nor 1/);
  });

  test.each(["-1", "1e2", "0x10", "NaN", "", " 5", "5, 5", "9".repeat(20), "1000000"])(
    "the header %j is refused",
    (header) => {
      const found = parsedBinary({ inputs: [input] }, new Uint8Array(0), header);
      expect(textsOf(found).join()).toMatch(/Inference-Header-Content-Length is/);
    },
  );

  test("binary_data_size without the header is refused", () => {
    const found = parsed({ inputs: [binary("x", "FP32", [0], 0)] });
    expect(textsOf(found).join()).toMatch(/no header Inference-Header/);
  });
});

describe("raw requests", () => {
  const raw = (dtype: DType, shape: ValueType["shape"], bytes: number): ParsedRequest =>
    parseInferRequest(Buffer.alloc(bytes, 1), {
      headerLength: "0",
      inputs: new Map([["x", { dtype, shape }]]),
    });

  test.each<[DType, readonly (string | number)[], number, readonly number[]]>([
    ["float32", ["N", 3], 24, [2, 3]],
    ["float32", [2, 3], 24, [2, 3]],
    ["float32", ["N", "L"], 24, [1, 6]],
    ["int8", [], 1, []],
    ["string", ["N"], 24, [1]],
    ["string", ["N", 1], 0, [1, 1]],
  ])("%s%j of %i bytes is %j", (dtype, shape, bytes, expected) => {
    const { inputs, parameters } = requestOf(raw(dtype, shape, bytes));
    expect(inputs.get("x")?.shape).toEqual(expected);
    expect(parameters.get("binary_data_output")).toBe(true);
  });

  test("the bytes of a string are one element", () => {
    const { inputs } = requestOf(raw("string", ["N"], 3));
    const elements = [...bytesElements(inputs.get("x")?.data.bytes ?? new Uint8Array())];
    expect(elements.map((one) => one.byteLength)).toEqual([3]);
  });

  test.each<[DType, ValueType["shape"], number, RegExp]>([
    ["float32", ["N", 3], 25, /no whole number of rows/],
    ["float32", [2, 3], 20, /takes 24 bytes/],
    ["float32", ["A", "B", "C"], 24, /more than one dim/],
    ["float32", [3, "A", "B"], 24, /more than one dim/],
    ["float32", ["N", 0], 24, /no whole number/],
    ["string", [2], 24, /raw bytes are one/],
    ["float32", undefined, 24, /not known/],
    ["int4", ["N"], 24, /not known/],
  ])("%s%j of %i bytes is refused", (dtype, shape, bytes, why) => {
    expect(textsOf(raw(dtype, shape, bytes)).join()).toMatch(why);
  });

  test("a model of two inputs has none", () => {
    const type = { dtype: "float32" as const, shape: ["N"] };
    const inputs = new Map([
      ["a", type],
      ["b", type],
    ]);
    const found = parseInferRequest(Buffer.alloc(4), { headerLength: "0", inputs });
    expect(textsOf(found).join()).toMatch(/has 2 inputs/);
  });
});

describe("responses", () => {
  const asked = (parts: Partial<InferRequest>): InferRequest => ({
    ...{ id: undefined, inputs: new Map(), outputs: undefined, parameters: new Map() },
    ...parts,
  });

  const encoded = (request: InferRequest, outputs: ReadonlyMap<string, Tensor>) => {
    const answer = encodeInferResponse({ model: 'm"', version: 2, request, outputs });
    if ("faults" in answer) throw new Error(answer.faults[0]?.text);
    return { text: String(Buffer.concat(answer.chunks)), ...answer };
  };

  test("the document, with 64-bit integers in full", () => {
    const value = tensor("int64", [1], new Uint8Array(BigInt64Array.of(2n ** 53n + 1n).buffer));
    const { text, headerLength } = encoded(asked({ id: "a" }), new Map([["y", value]]));
    expect(headerLength).toBeUndefined();
    expect(text).toBe(
      '{"model_name":"m\\"","model_version":"2","id":"a","outputs":[{"name":"y","datatype":"INT64","shape":[1],"data":[9007199254740993]}]}',
    );
  });

  test("the form of an output is its own, or the request's", () => {
    const outputs = new Map([
      ["a", float32([1], [1])],
      ["b", float32([1], [2])],
    ]);
    const parameters = new Map([["binary_data_output", true]]);
    const wanted = [{ name: "a", binary: false }, { name: "b" }];
    const answer = encoded(asked({ parameters, outputs: wanted }), outputs);
    const head = JSON.parse(answer.text.slice(0, answer.headerLength)) as { outputs: unknown[] };
    expect(head.outputs).toEqual([
      { name: "a", datatype: "FP32", shape: [1], data: [1] },
      { name: "b", datatype: "FP32", shape: [1], parameters: { binary_data_size: 4 } },
    ]);
    expect(answer.chunks[1]).toBe(outputs.get("b")?.data.bytes);
  });

  test("what cannot be sent in the form that is asked for is a fault before it is computed", () => {
    const types = new Map<string, ValueType>([
      ["half", { dtype: "float16", shape: ["N"] }],
      ["text", { dtype: "string", shape: undefined }],
      ["odd", { dtype: "int4", shape: ["N"] }],
      ["y", { dtype: "float32", shape: ["N"] }],
    ]);
    const where = (parts: Partial<InferRequest>) =>
      outputFaults(types, asked(parts)).map((one) => one.where);
    expect(where({})).toEqual(['output "half"', 'output "odd"']);
    expect(where({ outputs: [{ name: "y" }] })).toEqual([]);
    expect(where({ parameters: new Map([["binary_data_output", true]]) })).toEqual([
      'output "odd"',
    ]);
    expect(where({ outputs: [{ name: "text", classification: 1 }] })).toEqual(['output "text"']);
    expect(where({ outputs: [{ name: "half", classification: 1 }] })).toEqual([]);
  });

  test("what JSON cannot hold once it is there", () => {
    const zeros = (size: number) => tensor("bool", [size], new Uint8Array(size));
    const large = new Map([["y", zeros(limits.responseElementsMax + 1)]]);
    const of = (request: InferRequest, outputs: ReadonlyMap<string, Tensor>) =>
      encodeInferResponse({ model: "m", version: 1, request, outputs });
    expect(of(asked({}), large)).toMatchObject({ faults: [{ id: "request/answer-too-large" }] });
    const parameters = new Map([["binary_data_output", true]]);
    expect(of(asked({ parameters }), large)).toHaveProperty("chunks");
    const bytes = bytesOfElements([Uint8Array.of(0xff)]);
    const text: Tensor = { dtype: "string", shape: [1], data: { kind: "bytes", bytes } };
    expect(of(asked({}), new Map([["y", text]]))).toMatchObject({
      faults: [{ where: 'output "y"' }],
    });
  });

  test("names of types", () => {
    expect(dtypeOf("BF16")).toBe("bfloat16");
    expect(datatypeOf("int4")).toBe("INT4");
  });
});

describe("classification", () => {
  const texts = (value: Tensor): string[] =>
    [...bytesElements(value.data.bytes)].map((one) => String(Buffer.from(one)));

  test("is what sorting every row gives", () => {
    const values = fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 12, maxLength: 12 });
    fc.assert(
      fc.property(values, fc.integer({ min: 1, max: 6 }), (all, classes) => {
        const found = classified(float32([3, 4], all), classes);
        const count = Math.min(classes, 4);
        expect(found.shape).toEqual([3, count]);
        const expected = [0, 4, 8].flatMap((from) =>
          all
            .slice(from, from + 4)
            .map((value, index) => ({ value, index }))
            .sort((a, b) => b.value - a.value || a.index - b.index)
            .slice(0, count)
            .map(({ value, index }) => `${value}:${index}`),
        );
        expect(texts(found)).toEqual(expected);
      }),
    );
  });

  test("a tensor of one dim is one row; NaN is last; floats are short", () => {
    const found = classified(float32([3], [Number.NaN, 0.1, 0.25]), 3);
    expect(found.shape).toEqual([3]);
    expect(texts(found)).toEqual(["0.25:2", "0.1:1", "NaN:0"]);
    expect(classified(float32([0, 4], []), 2).shape).toEqual([0, 2]);
  });

  test("of every type that has an order", () => {
    const bytes = new Uint8Array(BigUint64Array.of(1n, 2n ** 63n).buffer);
    expect(texts(classified(tensor("uint64", [2], bytes), 1))).toEqual([`${2 ** 63}:1`]);
    const halves = new Uint8Array(Uint16Array.of(0x3c00, 0x4000).buffer);
    expect(texts(classified(tensor("float16", [2], halves), 1))).toEqual(["2:1"]);
    const words = new Uint8Array(Uint32Array.of(4_294_967_295, 1).buffer);
    expect(texts(classified(tensor("uint32", [2], words), 1))).toEqual(["4294967295:0"]);
  });
});
