// The checks of the protocol over gRPC (G1-G8), against the standard models.

import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { expect } from "vitest";
import { limits } from "../../src/base/limits.ts";
import type { GrpcAnswer, GrpcCheck } from "./grpc.ts";

const [INVALID, NOT_FOUND, EXHAUSTED, UNIMPLEMENTED] = [3, 5, 8, 12];

/** `x` of the model `affine`, and what comes of it. */
const X = {
  name: "x",
  datatype: "FP32",
  shape: [1n, 3n],
  contents: { fp32Contents: [1, 2, 3] },
};
const RAW_X = { name: "x", datatype: "FP32", shape: [1n, 3n] };
const RAW = floats(1, 2, 3);
const AFFINE = { modelName: "affine", inputs: [X] };

function floats(...values: number[]): Uint8Array {
  return new Uint8Array(Float32Array.of(...values).buffer);
}

/** What is asked of the model `affine` but wrong. */
function refused(
  id: string,
  title: string,
  message: Record<string, unknown>,
  details: RegExp,
): GrpcCheck {
  return {
    id,
    title,
    request: { method: "ModelInfer", message: { modelName: "affine", ...message } },
    expect: { code: INVALID, details },
  };
}

function missing(
  id: string,
  method: string,
  message: Record<string, unknown>,
  code = NOT_FOUND,
): GrpcCheck {
  const title = `${method} of what is not there`;
  return { id, title, request: { method, message }, expect: { code } };
}

const NAMED = { name: "affine" };

const DESCRIPTIONS: readonly GrpcCheck[] = [
  {
    id: "G1a",
    title: "the server lives",
    request: { method: "ServerLive" },
    expect: { message: { live: true } },
  },
  {
    id: "G1b",
    title: "the server is ready",
    request: { method: "ServerReady" },
    expect: { message: { ready: true } },
  },
  {
    id: "G1c",
    title: "a model is ready",
    request: { method: "ModelReady", message: NAMED },
    expect: { message: { ready: true } },
  },
  {
    id: "G1d",
    title: "a version is ready",
    request: { method: "ModelReady", message: { ...NAMED, version: "1" } },
    expect: { message: { ready: true } },
  },
  {
    id: "G1e",
    title: "a version that is not there is not ready, which is no error",
    request: { method: "ModelReady", message: { ...NAMED, version: "9" } },
    expect: { message: { ready: false } },
  },
  {
    id: "G1f",
    title: "a model that is not there is not ready",
    request: { method: "ModelReady", message: { name: "none" } },
    expect: { message: { ready: false } },
  },
  {
    id: "G1g",
    title: "metadata of the server",
    request: { method: "ServerMetadata" },
    expect: {
      message: { name: "skipway", version: "1.2.3" },
      also: ({ message }) => {
        const { extensions } = message as { extensions: string[] };
        expect(extensions).toEqual(expect.arrayContaining(["statistics", "parameters"]));
        expect(extensions.join()).not.toMatch(/shared_memory/);
      },
    },
  },
  {
    id: "G1h",
    title: "metadata of a model",
    request: { method: "ModelMetadata", message: NAMED },
    expect: {
      message: {
        name: "affine",
        versions: ["1", "2"],
        platform: "onnx_onnxv1",
        inputs: [{ name: "x", datatype: "FP32", shape: [-1n, 3n] }],
        outputs: [{ name: "y", datatype: "FP32", shape: [-1n, 3n] }, { name: "z" }],
      },
    },
  },
  {
    id: "G1i",
    title: "metadata of a version has its digest",
    request: { method: "ModelMetadata", message: { ...NAMED, version: "1" } },
    expect: { message: { properties: { digest: "sha256:affine1" } } },
  },
  missing("G1j", "ModelMetadata", { name: "none" }),
  missing("G1k", "ModelMetadata", { ...NAMED, version: "9" }),
  missing("G1l", "ModelMetadata", { ...NAMED, version: "one" }),
  missing("G1m", "ModelMetadata", { name: "" }),
  missing("G1n", "ModelMetadata", { name: "../affine" }),
  missing("G1o", "ModelMetadata", { name: "affine\0" }),
  {
    id: "G1p",
    title: "a very long name is not repeated whole",
    request: { method: "ModelMetadata", message: { name: "é".repeat(100_000) } },
    expect: {
      code: NOT_FOUND,
      also: ({ details }) => expect(details.length).toBeLessThan(300),
    },
  },
  {
    id: "G1q",
    title: "a method that is not there",
    request: { method: "/inference.GRPCInferenceService/ModelGuess" },
    expect: { code: UNIMPLEMENTED },
  },
  {
    id: "G1r",
    title: "bytes that are no message",
    request: { method: "ModelMetadata", message: Uint8Array.of(10, 200) },
    expect: { code: INVALID, details: /no message/ },
  },
  {
    id: "G1s",
    title: "a name that is no UTF-8",
    request: { method: "ModelReady", message: Uint8Array.of(10, 1, 0xff) },
    expect: { code: INVALID, details: /no UTF-8/ },
  },
  {
    id: "G4a",
    title: "the configuration of a model",
    request: { method: "ModelConfig", message: NAMED },
    expect: {
      message: {
        config: {
          name: "affine",
          backend: "onnxruntime",
          input: [{ name: "x", dataType: 11 }],
          modelTransactionPolicy: { decoupled: false },
        },
      },
    },
  },
  missing("G4b", "ModelConfig", { name: "none" }),
  {
    id: "G4c",
    title: "statistics of all models",
    request: { method: "ModelStatistics" },
    expect: { message: { modelStats: expect.any(Array) } },
  },
  {
    id: "G4d",
    title: "statistics of a version",
    request: { method: "ModelStatistics", message: { ...NAMED, version: "1" } },
    expect: { message: { modelStats: expect.any(Array) } },
  },
  missing("G4e", "ModelStatistics", { name: "none" }),
  {
    id: "G8a",
    title: "the status of shared memory",
    request: { method: "/inference.GRPCInferenceService/SystemSharedMemoryStatus" },
    expect: { code: UNIMPLEMENTED, details: /shared memory is not offered/ },
  },
  {
    id: "G8b",
    title: "registering shared memory",
    request: { method: "/inference.GRPCInferenceService/CudaSharedMemoryRegister" },
    expect: { code: UNIMPLEMENTED, details: /shared memory is not offered/ },
  },
];

/** Elements of each datatype of the model `types`: typed contents, and as raw bytes. */
const TYPED: readonly (readonly [string, Record<string, unknown> | undefined, Uint8Array])[] = [
  ["BOOL", { boolContents: [true, false] }, Uint8Array.of(1, 0)],
  ["UINT8", { uintContents: [0, 255] }, Uint8Array.of(0, 255)],
  ["UINT16", { uintContents: [0, 65535] }, of(Uint16Array.of(0, 65535))],
  ["UINT32", { uintContents: [0, 2 ** 32 - 1] }, of(Uint32Array.of(0, 2 ** 32 - 1))],
  ["UINT64", { uint64Contents: [0n, 2n ** 64n - 1n] }, of(BigUint64Array.of(0n, 2n ** 64n - 1n))],
  ["INT8", { intContents: [-128, 127] }, of(Int8Array.of(-128, 127))],
  ["INT16", { intContents: [-32768, 32767] }, of(Int16Array.of(-32768, 32767))],
  ["INT32", { intContents: [-(2 ** 31), 2 ** 31 - 1] }, of(Int32Array.of(-(2 ** 31), 2 ** 31 - 1))],
  [
    "INT64",
    { int64Contents: [-(2n ** 63n), 2n ** 53n + 1n] },
    of(BigInt64Array.of(-(2n ** 63n), 2n ** 53n + 1n)),
  ],
  ["FP16", undefined, of(Uint16Array.of(0x3c00, 0xfc00))],
  [
    "FP32",
    { fp32Contents: [Number.POSITIVE_INFINITY, -0.5] },
    floats(Number.POSITIVE_INFINITY, -0.5),
  ],
  ["FP64", { fp64Contents: [Number.MIN_VALUE, -0] }, of(Float64Array.of(Number.MIN_VALUE, -0))],
  ["BF16", undefined, of(Uint16Array.of(0x3f80, 0xff80))],
  [
    "BYTES",
    { bytesContents: [Buffer.from("é"), Buffer.alloc(0)] },
    Uint8Array.of(2, 0, 0, 0, 0xc3, 0xa9, 0, 0, 0, 0),
  ],
];

function of(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** A request of the model `types`, which wants all its inputs: the others are empty. */
function typesRequest(
  datatype: string,
  contents: Record<string, unknown> | undefined,
  raw?: Uint8Array,
) {
  const inputs = TYPED.map(([name, typed]) => ({
    name: `in_${name}`,
    datatype: name,
    shape: [name === datatype ? 2n : 0n],
    ...(name === datatype && contents && { contents }),
    ...(typed === undefined && {}),
  }));
  return {
    modelName: "types",
    inputs,
    outputs: [{ name: `out_${datatype}` }],
    ...(raw && {
      rawInputContents: TYPED.map(([name]) => (name === datatype ? raw : new Uint8Array(0))),
    }),
  };
}

const rawOf = ({ message }: GrpcAnswer): Uint8Array[] =>
  (message as { rawOutputContents: Uint8Array[] }).rawOutputContents;

const DATATYPES: readonly GrpcCheck[] = TYPED.flatMap(([datatype, contents, raw], i) => {
  const letter = String.fromCharCode(97 + i);
  const output = { name: `out_${datatype}`, datatype, shape: [2n] };
  const rawCheck: GrpcCheck = {
    id: `G2${letter}`,
    title: `raw ${datatype} comes back raw`,
    request: { method: "ModelInfer", message: typesRequest(datatype, undefined, raw) },
    expect: {
      message: { outputs: [output] },
      also: (answer) => expect(rawOf(answer).map((one) => [...one])).toEqual([[...raw]]),
    },
  };
  const typedCheck: GrpcCheck = {
    id: `G2${letter}2`,
    title: `typed ${datatype} comes back typed`,
    request: { method: "ModelInfer", message: typesRequest(datatype, contents) },
    expect: { message: { outputs: [{ ...output, contents }], rawOutputContents: [] } },
  };
  return contents === undefined ? [rawCheck] : [rawCheck, typedCheck];
});

const INFERENCE: readonly GrpcCheck[] = [
  {
    id: "G1t",
    title: "an answer has the model, the version that ran and the id",
    request: { method: "ModelInfer", message: { ...AFFINE, id: "42" } },
    expect: { message: { modelName: "affine", modelVersion: "2", id: "42" } },
  },
  {
    id: "G1u",
    title: "a version that is named answers",
    request: { method: "ModelInfer", message: { ...AFFINE, modelVersion: "1" } },
    expect: { message: { modelVersion: "1", id: "" } },
  },
  {
    id: "G1v",
    title: "all outputs where none are named",
    request: { method: "ModelInfer", message: AFFINE },
    expect: {
      message: {
        outputs: [
          { name: "y", datatype: "FP32", shape: [1n, 3n], contents: { fp32Contents: [3, 5, 7] } },
          { name: "z", contents: { fp32Contents: [-1, -2, -3] } },
        ],
      },
    },
  },
  {
    id: "G1w",
    title: "only the outputs that are named",
    request: { method: "ModelInfer", message: { ...AFFINE, outputs: [{ name: "z" }] } },
    expect: {
      also: ({ message }) => expect((message as { outputs: unknown[] }).outputs).toHaveLength(1),
      message: { outputs: [{ name: "z" }] },
    },
  },
  missing("G1x", "ModelInfer", { ...AFFINE, modelName: "none" }),
  missing("G1y", "ModelInfer", { ...AFFINE, modelVersion: "9" }),
  {
    id: "G2x",
    title: "FP16 outputs make a typed answer raw",
    request: { method: "ModelInfer", message: { modelName: "half", inputs: [X] } },
    expect: {
      also: (answer) => expect(rawOf(answer).map((one) => one.byteLength)).toEqual([12, 6]),
    },
  },
  {
    id: "G2y",
    title: "an input with no rows",
    request: {
      method: "ModelInfer",
      message: { modelName: "affine", inputs: [{ ...X, shape: [0n, 3n], contents: {} }] },
    },
    expect: { message: { outputs: [{ name: "y", shape: [0n, 3n] }, { name: "z" }] } },
  },
  {
    id: "G3a",
    title: "parameters of every kind are taken",
    request: {
      method: "ModelInfer",
      message: {
        ...AFFINE,
        parameters: {
          a: { parameterChoice: { case: "boolParam", value: true } },
          b: { parameterChoice: { case: "int64Param", value: -(2n ** 63n) } },
          c: { parameterChoice: { case: "stringParam", value: "x" } },
          d: { parameterChoice: { case: "doubleParam", value: 0.5 } },
          e: { parameterChoice: { case: "uint64Param", value: 2n ** 64n - 1n } },
          f: {},
        },
      },
    },
    expect: { message: { modelName: "affine" } },
  },
];

const REFUSALS: readonly GrpcCheck[] = [
  refused("G6a", "no inputs", {}, /inputs: there are none/),
  refused(
    "G6b",
    "an input that the model has not",
    { inputs: [{ ...X, name: "q" }] },
    /no input of this name/,
  ),
  refused(
    "G6c",
    "another datatype than the model's",
    { inputs: [{ ...X, datatype: "FP64", contents: { fp64Contents: [1, 2, 3] } }] },
    /FP32/,
  ),
  refused(
    "G6d",
    "another shape than the model's",
    { inputs: [{ ...X, shape: [3n, 1n] }] },
    /FP32\[N,3\]/,
  ),
  refused(
    "G6e",
    "an output that the model has not",
    { inputs: [X], outputs: [{ name: "q" }] },
    /q/,
  ),
  refused("G6f", "an input twice", { inputs: [X, X] }, /given twice/),
  refused(
    "G6g",
    "an output twice",
    { inputs: [X], outputs: [{ name: "y" }, { name: "y" }] },
    /asked for twice/,
  ),
  refused("G6h", "a negative size", { inputs: [{ ...X, shape: [-1n, 16n] }] }, /no shape/),
  refused(
    "G6i",
    "sizes that overflow",
    { inputs: [{ ...X, shape: [2n ** 40n, 2n ** 40n] }] },
    /more elements/,
  ),
  refused(
    "G6j",
    "a shape of 64 TB with no bytes",
    { inputs: [{ ...X, shape: [2n ** 43n, 2n] }] },
    /more elements/,
  ),
  refused(
    "G6k",
    "too few elements",
    { inputs: [{ ...X, contents: { fp32Contents: [1] } }] },
    /3 elements, its fp32_contents 1/,
  ),
  refused(
    "G6l",
    "elements of another type",
    { inputs: [{ ...X, contents: { intContents: [1, 2, 3] } }] },
    /stand in int_contents/,
  ),
  refused(
    "G6m",
    "raw and typed contents",
    { inputs: [X], rawInputContents: [RAW] },
    /give one of both/,
  ),
  refused(
    "G6n",
    "raw contents for no input",
    { inputs: [RAW_X], rawInputContents: [RAW, RAW] },
    /2 entries for 1 inputs/,
  ),
  refused(
    "G6o",
    "raw contents that are short",
    { inputs: [RAW_X], rawInputContents: [RAW.subarray(1)] },
    /its data has 11/,
  ),
  refused(
    "G6p",
    "raw contents that are long",
    { inputs: [RAW_X], rawInputContents: [floats(1, 2, 3, 4)] },
    /its data has 16/,
  ),
  refused(
    "G6q",
    "typed FP16",
    { inputs: [{ ...X, datatype: "FP16" }] },
    /raw_input_contents alone/,
  ),
  refused("G6r", "an unknown datatype", { inputs: [{ ...X, datatype: "FP8" }] }, /no datatype/),
  refused("G6s", "4,097 inputs", { inputs: Array.from({ length: 4097 }, () => X) }, /lists 4097/),
  refused(
    "G6t",
    "100,000 outputs",
    { inputs: [X], outputs: Array.from({ length: 100_000 }, (_, i) => ({ name: `y${i}` })) },
    /lists 100000/,
  ),
  refused(
    "G6u",
    "an input in shared memory",
    {
      inputs: [
        {
          ...RAW_X,
          parameters: {
            shared_memory_region: { parameterChoice: { case: "stringParam", value: "r" } },
          },
        },
      ],
    },
    /shared memory/,
  ),
  refused(
    "G6v",
    "BYTES for numbers",
    { inputs: [{ ...X, datatype: "BYTES", contents: { bytesContents: [RAW, RAW, RAW] } }] },
    /FP32/,
  ),
  {
    id: "G6w",
    title: "bytes that are no ModelInferRequest",
    request: { method: "ModelInfer", message: Uint8Array.of(0xff, 0xff, 0xff) },
    expect: { code: NOT_FOUND },
  },
  {
    id: "G6x",
    title: "a message cut off within its inputs",
    request: {
      method: "ModelInfer",
      message: Buffer.concat([modelNamed("affine"), Uint8Array.of(42, 100, 1)]),
    },
    expect: { code: INVALID, details: /no ModelInferRequest/ },
  },
  {
    id: "G6y",
    title: "a million empty inputs cost nothing",
    request: {
      method: "ModelInfer",
      message: Buffer.concat([modelNamed("affine"), Buffer.alloc(2_000_000, Uint8Array.of(42, 0))]),
    },
    expect: { code: INVALID, details: /lists 1000000/ },
  },
  {
    id: "G6z",
    title: "thirty million fields are not read",
    request: {
      method: "ModelInfer",
      message: Buffer.concat([
        modelNamed("affine"),
        Buffer.alloc(60_000_000, Uint8Array.of(26, 0)),
      ]),
    },
    expect: { code: INVALID, details: /more than 1048576 fields/ },
  },
  {
    id: "G7a",
    title: "a message as long as may be is read",
    request: { method: "ModelInfer", message: padded(limits.requestBytesMax) },
    expect: { message: { modelName: "affine" } },
  },
  {
    id: "G7b",
    title: "a message that is longer is refused before it is read",
    request: { method: "ModelInfer", message: padded(limits.requestBytesMax + 1) },
    expect: { code: EXHAUSTED, details: /larger than max/ },
  },
];

function modelNamed(name: string): Uint8Array {
  return new BinaryWriter().tag(1, WireType.LengthDelimited).string(name).finish();
}

/** A right request of that many bytes: what it is filled with is a field that nobody knows. */
function padded(length: number): Uint8Array {
  const input = new BinaryWriter();
  input.tag(1, WireType.LengthDelimited).string("x");
  input.tag(2, WireType.LengthDelimited).string("FP32");
  for (const dim of [1, 3]) input.tag(3, WireType.Varint).int64(dim);
  const writer = new BinaryWriter().raw(modelNamed("affine"));
  writer.tag(5, WireType.LengthDelimited).bytes(input.finish());
  writer.tag(7, WireType.LengthDelimited).bytes(RAW);
  const head = writer.finish();
  // A tag of two bytes and a length of four.
  const rest = length - head.byteLength - 6;
  const filler = new BinaryWriter().tag(100, WireType.LengthDelimited).uint32(rest).finish();
  return Buffer.concat([head, filler, Buffer.alloc(rest)]);
}

/** All of them. */
export const GRPC_CHECKS: readonly GrpcCheck[] = [
  ...DESCRIPTIONS,
  ...DATATYPES,
  ...INFERENCE,
  ...REFUSALS,
];
