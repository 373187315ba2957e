import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { limits } from "../base/limits.ts";
import { type DType, dtypeBytes } from "../graph/dtype.ts";
import { bytesOf, type Tensor } from "../graph/tensor.ts";
import { datatypeOf } from "./datatype.ts";
import { decodeInferRequest, type GrpcInferRequest } from "./grpc-infer.ts";
import { encodeInferResponse, encodeStreamAnswer, encodeStreamError } from "./grpc-response.ts";
import {
  InferTensorContentsSchema,
  type ModelInferRequest,
  ModelInferRequestSchema,
  ModelInferResponseSchema,
  ModelStreamInferResponseSchema,
} from "./proto/oip_pb.js";
import type { InferRequest } from "./request.ts";

// What we read and write field by field against the protobuf library, which knows the schema.

const DTYPES = [
  ...(["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"] as const),
  ...(["float16", "bfloat16", "float32", "float64", "string"] as const),
];
type Typed = Exclude<(typeof DTYPES)[number], "float16" | "bfloat16">;
const TYPED = DTYPES.filter((dtype): dtype is Typed => !/float16/.test(dtype));

type Init = Parameters<typeof create<typeof ModelInferRequestSchema>>[1];
const encode = (init: Init): Uint8Array =>
  toBinary(ModelInferRequestSchema, create(ModelInferRequestSchema, init));
const decode = (init: Init): GrpcInferRequest => decodeInferRequest(encode(init));

function requestOf({ parsed }: GrpcInferRequest): InferRequest {
  if ("faults" in parsed) throw new Error(parsed.faults.map((one) => one.text).join());
  return parsed.request;
}

function faultsOf({ parsed }: GrpcInferRequest): string {
  if ("request" in parsed) return "";
  return parsed.faults.map(({ where, text }) => `${where}: ${text}`).join("\n");
}

/** Elements of a type as JavaScript has them, their bytes in a tensor, and the contents that say the same. */
const elements: Record<Typed, fc.Arbitrary<unknown>> = {
  bool: fc.boolean(),
  int8: fc.integer({ min: -128, max: 127 }),
  int16: fc.integer({ min: -32768, max: 32767 }),
  int32: fc.integer(),
  int64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  uint8: fc.integer({ min: 0, max: 255 }),
  uint16: fc.integer({ min: 0, max: 65535 }),
  uint32: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  uint64: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  float32: fc.float({ noNaN: true }),
  float64: fc.double({ noNaN: true }),
  string: fc.uint8Array({ maxLength: 300 }),
};

const ARRAYS: Record<Exclude<Typed, "string">, { from(values: never): ArrayBufferView }> = {
  bool: Uint8Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  float32: Float32Array,
  float64: Float64Array,
};

function bytesFrom(dtype: Typed, values: readonly unknown[]): Uint8Array {
  if (dtype !== "string") return bytesOf(ARRAYS[dtype].from(values as never));
  const parts = (values as Uint8Array[]).map((value) => {
    const head = Buffer.alloc(4);
    head.writeUInt32LE(value.byteLength);
    return Buffer.concat([head, value]);
  });
  return new Uint8Array(Buffer.concat(parts));
}

const FIELDS = {
  bool: "boolContents",
  int8: "intContents",
  int16: "intContents",
  int32: "intContents",
  int64: "int64Contents",
  uint8: "uintContents",
  uint16: "uintContents",
  uint32: "uintContents",
  uint64: "uint64Contents",
  float32: "fp32Contents",
  float64: "fp64Contents",
  string: "bytesContents",
} as const satisfies Record<Typed, string>;

function inputOf(dtype: DType, shape: readonly number[], contents?: Record<string, unknown>) {
  const base = { name: "x", datatype: datatypeOf(dtype), shape: shape.map(BigInt) };
  return { ...base, ...(contents && { contents: create(InferTensorContentsSchema, contents) }) };
}

describe("requests", () => {
  test.each(TYPED)("typed contents of %s become the bytes of the tensor", (dtype) => {
    fc.assert(
      fc.property(fc.array(elements[dtype], { maxLength: 40 }), (values) => {
        const contents = { [FIELDS[dtype]]: values };
        const decoded = decode({ inputs: [inputOf(dtype, [values.length], contents)] });
        expect(decoded.raw).toBe(false);
        const value = requestOf(decoded).inputs.get("x");
        expect(value).toMatchObject({ dtype, shape: [values.length] });
        expect(Buffer.from(value?.data.bytes ?? [])).toEqual(Buffer.from(bytesFrom(dtype, values)));
      }),
      { numRuns: 60 },
    );
  });

  test.each(TYPED)("an answer of %s says the same as what the library reads", (dtype) => {
    fc.assert(
      fc.property(fc.array(elements[dtype], { maxLength: 40 }), fc.boolean(), (values, raw) => {
        const bytes = bytesFrom(dtype, values);
        const shape = [values.length, 1];
        const outputs = new Map([["y", { dtype, shape, data: { kind: "bytes" as const, bytes } }]]);
        const answer = { model: "m", version: 3, id: "i", outputs, raw };
        const read = fromBinary(ModelInferResponseSchema, encodeInferResponse(answer));
        expect(read).toMatchObject({ modelName: "m", modelVersion: "3", id: "i" });
        expect(read.outputs[0]).toMatchObject({ name: "y", datatype: datatypeOf(dtype) });
        expect(read.outputs[0]?.shape).toEqual(shape.map(BigInt));
        if (raw) {
          expect(read.outputs[0]?.contents).toBeUndefined();
          expect(Buffer.from(read.rawOutputContents[0] ?? [])).toEqual(Buffer.from(bytes));
        } else {
          expect(read.rawOutputContents).toEqual([]);
          const found: readonly unknown[] = read.outputs[0]?.contents?.[FIELDS[dtype]] ?? [];
          const plain = (one: unknown) => (one instanceof Uint8Array ? [...one] : one);
          expect(found.map(plain)).toEqual(values.map(plain));
        }
      }),
      { numRuns: 60 },
    );
  });

  test.each(DTYPES)("raw %s stays a view of the message", (dtype) => {
    const bytes =
      dtype === "string"
        ? bytesFrom("string", [Buffer.from("a\0é"), Buffer.alloc(0)])
        : new Uint8Array(dtypeBytes(dtype, 2)).fill(1);
    const message = encode({ inputs: [inputOf(dtype, [2])], rawInputContents: [bytes] });
    const decoded = decodeInferRequest(message);
    expect(decoded.raw).toBe(true);
    const value = requestOf(decoded).inputs.get("x");
    expect(value?.data.bytes.buffer).toBe(message.buffer);
    expect(Buffer.from(value?.data.bytes ?? [])).toEqual(Buffer.from(bytes));
  });

  test("all that a request has", () => {
    const decoded = decode({
      modelName: "m",
      modelVersion: "2",
      id: "7",
      parameters: {
        truth: { parameterChoice: { case: "boolParam", value: true } },
        least: { parameterChoice: { case: "int64Param", value: -(2n ** 63n) } },
        most: { parameterChoice: { case: "uint64Param", value: 2n ** 64n - 1n } },
        text: { parameterChoice: { case: "stringParam", value: "é" } },
        half: { parameterChoice: { case: "doubleParam", value: 0.5 } },
        none: {},
      },
      inputs: [inputOf("float32", [], { fp32Contents: [1] })],
      outputs: [
        { name: "y" },
        {
          name: "z",
          parameters: { classification: { parameterChoice: { case: "int64Param", value: 3n } } },
        },
      ],
    });
    expect(decoded).toMatchObject({ model: "m", version: "2", id: "7", raw: false });
    const request = requestOf(decoded);
    expect(request.id).toBe("7");
    expect(request.outputs).toEqual([{ name: "y" }, { name: "z", classification: 3 }]);
    expect([...request.parameters]).toEqual([
      ["truth", true],
      ["least", -(2n ** 63n)],
      ["most", 2n ** 64n - 1n],
      ["text", "é"],
      ["half", 0.5],
    ]);
  });

  test("numbers that are not packed, and contents in two pieces", () => {
    const contents = new BinaryWriter();
    for (const value of [1, -2]) contents.tag(6, WireType.Bit32).float(value);
    contents.tag(6, WireType.LengthDelimited).fork().float(3).join();
    const whole = contents.finish();
    const input = new BinaryWriter();
    input.tag(1, WireType.LengthDelimited).string("x");
    input.tag(2, WireType.LengthDelimited).string("FP32");
    for (const dim of [1, 6]) input.tag(3, WireType.Varint).int64(dim);
    for (let i = 0; i < 2; i++) input.tag(5, WireType.LengthDelimited).bytes(whole);
    const message = new BinaryWriter().tag(5, WireType.LengthDelimited).bytes(input.finish());
    const value = requestOf(decodeInferRequest(message.finish())).inputs.get("x");
    expect(value?.shape).toEqual([1, 6]);
    expect(Buffer.from(value?.data.bytes ?? [])).toEqual(
      Buffer.from(Float32Array.of(1, -2, 3, 1, -2, 3).buffer),
    );
  });

  const x = inputOf("float32", [2], { fp32Contents: [1, 2] });
  const bare = inputOf("float32", [2]);
  const eight = new Uint8Array(8);
  const text = (length: number, ...bytes: number[]) => Uint8Array.of(length, 0, 0, 0, ...bytes);
  test.each<[string, Init, RegExp]>([
    ["no inputs", {}, /inputs: there are none/],
    ["an input without a name", { inputs: [{ ...x, name: "" }] }, /inputs\[0\]: has no name/],
    ["two of one name", { inputs: [x, x] }, /"x": is given twice/],
    ["an unknown datatype", { inputs: [{ ...x, datatype: "FP31" }] }, /no datatype/],
    ["no datatype", { inputs: [{ ...x, datatype: "" }] }, /no datatype/],
    ["a negative size", { inputs: [{ ...x, shape: [-1n, 2n] }] }, /no shape/],
    ["the least size", { inputs: [{ ...x, shape: [-(2n ** 63n)] }] }, /no shape/],
    ["sizes that overflow", { inputs: [{ ...x, shape: [2n ** 40n, 2n ** 40n] }] }, /more elements/],
    ["a size beyond all", { inputs: [{ ...x, shape: [2n ** 62n] }] }, /no shape/],
    [
      "sizes that come to nothing",
      { inputs: [{ ...x, shape: [2n ** 31n, 0n] }] },
      /0 elements, its fp32_contents 2/,
    ],
    ["too many dims", { inputs: [{ ...x, shape: Array(65).fill(1n) }] }, /no shape of at most 64/],
    [
      "very many dims",
      { inputs: [{ ...x, shape: Array(9999).fill(1n) }] },
      /no shape of at most 64/,
    ],
    [
      "too few elements",
      { inputs: [inputOf("float32", [3], { fp32Contents: [1] })] },
      /3 elements, its fp32_contents 1/,
    ],
    [
      "too many elements",
      { inputs: [inputOf("int32", [1], { intContents: [1, 2] })] },
      /1 elements, its int_contents 2/,
    ],
    ["no contents at all", { inputs: [bare] }, /2 elements, its fp32_contents 0/],
    [
      "contents of another type",
      { inputs: [inputOf("float32", [1], { fp64Contents: [1] })] },
      /stand in fp64_contents; .* in fp32_contents/,
    ],
    [
      "contents of two types",
      { inputs: [inputOf("float32", [1], { fp32Contents: [1], bytesContents: [eight] })] },
      /stand in bytes_contents/,
    ],
    [
      "typed halves",
      { inputs: [inputOf("float16", [1], { fp32Contents: [1] })] },
      /raw_input_contents alone/,
    ],
    [
      "typed brain floats",
      { inputs: [inputOf("bfloat16", [1], { fp32Contents: [1] })] },
      /raw_input_contents alone/,
    ],
    [
      "an int8 of 300",
      { inputs: [inputOf("int8", [1], { intContents: [300] })] },
      /element 0 of its contents, 300, is no int8/,
    ],
    [
      "an uint16 of 70,000",
      { inputs: [inputOf("uint16", [1], { uintContents: [70000] })] },
      /no uint16/,
    ],
    ["raw and typed", { inputs: [x], rawInputContents: [eight] }, /give one of both/],
    [
      "raw contents for one of two",
      { inputs: [bare, { ...bare, name: "y" }], rawInputContents: [eight] },
      /1 entries for 2 inputs/,
    ],
    [
      "raw contents for none",
      { inputs: [bare], rawInputContents: [eight, eight] },
      /2 entries for 1 inputs/,
    ],
    [
      "raw contents too short",
      { inputs: [bare], rawInputContents: [eight.subarray(1)] },
      /takes 8 bytes, its data has 7/,
    ],
    [
      "raw contents too long",
      { inputs: [bare], rawInputContents: [new Uint8Array(9)] },
      /its data has 9/,
    ],
    [
      "BYTES that end inside",
      { inputs: [inputOf("string", [1])], rawInputContents: [text(9, 1)] },
      /BYTES end inside element 0/,
    ],
    [
      "BYTES of two for one",
      { inputs: [inputOf("string", [1])], rawInputContents: [text(0, 0, 0, 0, 0)] },
      /1 elements, its BYTES 2/,
    ],
    [
      "BYTES with half a length",
      { inputs: [inputOf("string", [1])], rawInputContents: [Uint8Array.of(0, 0)] },
      /BYTES/,
    ],
    [
      "an output without a name",
      { inputs: [x], outputs: [{ name: "" }] },
      /outputs\[0\]: has no name/,
    ],
    [
      "an output twice",
      { inputs: [x], outputs: [{ name: "y" }, { name: "y" }] },
      /"y": is asked for twice/,
    ],
    [
      "no classes",
      {
        inputs: [x],
        outputs: [
          {
            name: "y",
            parameters: { classification: { parameterChoice: { case: "int64Param", value: 0n } } },
          },
        ],
      },
      /no number of classes/,
    ],
    [
      "shared memory",
      {
        inputs: [
          {
            ...bare,
            parameters: {
              shared_memory_region: { parameterChoice: { case: "stringParam", value: "r" } },
            },
          },
        ],
      },
      /shared memory, which is not offered/,
    ],
    [
      "too many tensors",
      { inputs: Array.from({ length: limits.requestTensorsMax + 1 }, () => x) },
      /inputs: lists 4097 tensors; at most 4096/,
    ],
    [
      "too many raw contents",
      {
        inputs: [bare],
        rawInputContents: Array.from({ length: limits.requestTensorsMax + 1 }, () => eight),
      },
      /raw_input_contents: lists 4097/,
    ],
  ])("refused: %s", (_what, init, why) => {
    expect(faultsOf(decode({ modelName: "m", ...init }))).toMatch(why);
  });

  test("very many fields are refused, whatever they are; the rest is not read", () => {
    const name = new BinaryWriter().tag(1, WireType.LengthDelimited).string("").finish();
    const many = new Uint8Array(name.byteLength * (limits.requestFieldsMax + 1));
    for (let at = 0; at < many.byteLength; at += name.byteLength) many.set(name, at);
    expect(faultsOf(decodeInferRequest(many))).toMatch(/more than 1048576 fields/);
    // Inputs of two bytes each: 32 million of them would be gigabytes of objects.
    const empty = new Uint8Array(limits.requestFieldsMax * 2);
    for (let at = 0; at < empty.byteLength; at += 2)
      empty[at] = (5 << 3) | WireType.LengthDelimited;
    expect(faultsOf(decodeInferRequest(empty))).toMatch(/inputs: lists 1048576 tensors/);
  });

  test("cut off or changed bytes are a request or a fault, never anything else", () => {
    const whole = encode({
      modelName: "m",
      parameters: { a: { parameterChoice: { case: "doubleParam", value: 1 } } },
      inputs: [x, inputOf("int64", [2], { int64Contents: [1n, -1n] })],
      outputs: [{ name: "y" }],
    });
    for (let end = 0; end < whole.byteLength; end++) decodeInferRequest(whole.subarray(0, end));
    expect(faultsOf(decodeInferRequest(whole.subarray(0, -1)))).toMatch(/no ModelInferRequest/);
    fc.assert(
      fc.property(fc.nat(whole.byteLength - 1), fc.nat(255), fc.uint8Array(), (at, byte, tail) => {
        const changed = Buffer.concat([whole, tail]);
        changed[at] = byte;
        decodeInferRequest(changed);
        decodeInferRequest(tail);
      }),
      { numRuns: 2000 },
    );
  });

  test("what the library reads we read alike", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        let read: ModelInferRequest;
        try {
          read = fromBinary(ModelInferRequestSchema, bytes);
        } catch {
          expect(faultsOf(decodeInferRequest(bytes))).not.toBe("");
          return;
        }
        const ours = decodeInferRequest(bytes);
        if ("faults" in ours.parsed) return;
        expect(ours).toMatchObject({ model: read.modelName, id: read.id });
      }),
    );
  });
});

describe("answers", () => {
  const y: Tensor = {
    dtype: "float32",
    shape: [],
    data: { kind: "bytes", bytes: new Uint8Array(4) },
  };
  const half: Tensor = {
    dtype: "float16",
    shape: [1],
    data: { kind: "bytes", bytes: Uint8Array.of(0, 60) },
  };
  const outputs = new Map([
    ["y", y],
    ["half", half],
  ]);
  const answer = { model: "m", version: 1, id: "", outputs, raw: false };

  test("an output that has no typed contents makes all of them raw", () => {
    const read = fromBinary(ModelInferResponseSchema, encodeInferResponse(answer));
    expect(read.rawOutputContents.map((one) => one.byteLength)).toEqual([4, 2]);
    expect(read.outputs.map((one) => one.contents)).toEqual([undefined, undefined]);
    expect(read.outputs[0]?.shape).toEqual([]);
  });

  test("answers and errors of a stream", () => {
    const bytes = encodeStreamAnswer({ ...answer, id: "5" });
    const read = fromBinary(ModelStreamInferResponseSchema, bytes);
    expect(read.errorMessage).toBe("");
    expect(read.inferResponse).toMatchObject({ modelName: "m", id: "5" });
    expect(read.inferResponse?.parameters["triton_final_response"]?.parameterChoice.value).toBe(
      true,
    );
    const failed = encodeStreamError("no", { model: "m", id: "6" });
    expect(fromBinary(ModelStreamInferResponseSchema, failed)).toMatchObject({
      errorMessage: "no",
      inferResponse: { modelName: "m", id: "6" },
    });
  });
});
