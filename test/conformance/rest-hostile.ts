// Requests that are wrong, by mistake or on purpose: each is refused with the reason, none costs more than it
// says, and the server goes on (R8-R14, R17).

import { gzipSync } from "node:zlib";
import { expect } from "vitest";
import type { RestCheck, RestRequest } from "./rest.ts";
import { binary, binaryInput } from "./rest-infer.ts";

const AFFINE = "/v2/models/affine/infer";
const X = { name: "x", shape: [1, 3], datatype: "FP32", data: [1, 2, 3] };

function refused(
  id: string,
  title: string,
  body: unknown,
  error: RegExp,
  headers?: Readonly<Record<string, string>>,
  status = 400,
): RestCheck {
  const request: RestRequest = { path: AFFINE, body, ...(headers && { headers }) };
  return {
    id,
    title,
    request,
    expect: { status, error, also: ({ bytes }) => expect(bytes.byteLength).toBeLessThan(5000) },
  };
}

function x(change: Readonly<Record<string, unknown>>): { inputs: unknown[] } {
  return { inputs: [{ ...X, ...change }] };
}

/** With a text in place of the data, which JSON.stringify would not write. */
function data(text: string): string {
  return JSON.stringify(x({ data: "DATA" })).replace('"DATA"', text);
}

function header(value: string): Record<string, string> {
  return { "Inference-Header-Content-Length": value };
}

function withTail(
  id: string,
  title: string,
  input: unknown,
  tail: Uint8Array,
  error: RegExp,
): RestCheck {
  const request: RestRequest = { path: AFFINE, ...binary({ inputs: [input] }, tail) };
  return { id, title, request, expect: { status: 400, error } };
}

const JSON_FAULTS: readonly RestCheck[] = [
  refused("H1a", "no body", "", /body is empty/),
  refused("H1b", "broken JSON", '{"inputs": [', /no JSON/),
  refused("H1c", "no object", "[]", /no JSON object/),
  refused("H1d", "null", "null", /no JSON object/),
  refused("H1e", "trailing garbage", `${JSON.stringify(x({}))}}`, /no JSON/),
  refused("H1f", "a second document", `${JSON.stringify(x({}))}{}`, /no JSON/),
  refused("H1g", "no UTF-8", Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), /UTF-8/),
  refused("H1h", "UTF-16", Buffer.from(JSON.stringify(x({})), "utf16le"), /no JSON|UTF-8/),
  refused("H1i", "deep arrays", "[".repeat(100_000), /nested deeper/),
  refused("H1j", "deep objects", '{"a":'.repeat(100_000), /nested deeper/),
  refused(
    "H1k",
    "deep data",
    data(`${"[".repeat(100_000)}${"]".repeat(100_000)}`),
    /nested, but not/,
  ),
  refused("H1l", "very many objects", `[${"{},".repeat(30_000)}{}]`, /more than 24576 objects/),
  refused(
    "H1m",
    "very many fields of data",
    `{"inputs":[{${'"data":1,'.repeat(30_000)}"x":1}]}`,
    /fields of data/,
  ),
  refused(
    "H1n",
    "megabytes beside the data",
    { ...x({}), extra: "a".repeat(5_000_000) },
    /beside the data/,
  ),
  refused("H1o", "a BOM before JSON", `\ufeff${JSON.stringify(x({}))}`, /no JSON/),
  refused("H1p", "no inputs", {}, /inputs: is missing/),
  refused(
    "H1q",
    "inputs that are an object",
    { inputs: { x: X } },
    /inputs: is missing or no array/,
  ),
  refused("H1r", "an input that is null", { inputs: [null] }, /inputs\[0\]: has no name/),
  refused("H1s", "an id that is a number", { id: 7, ...x({}) }, /id: is no string/),
  refused("H1t", "parameters that are an array", { ...x({}), parameters: [] }, /parameters/),
  refused(
    "H1u",
    "a parameter that is an object",
    { ...x({}), parameters: { a: {} } },
    /no string, number or truth value/,
  ),
];

const TENSOR_FAULTS: readonly RestCheck[] = [
  refused("H2a", "an input given twice", { inputs: [X, X] }, /input "x": is given twice/),
  refused(
    "H2b",
    "an output asked for twice",
    { ...x({}), outputs: [{ name: "y" }, { name: "y" }] },
    /output "y": is asked for twice/,
  ),
  refused(
    "H2c",
    "an input that the model does not have",
    x({ name: "q" }),
    /no input of this name; it has "x"/,
  ),
  refused(
    "H2d",
    "an output that the model does not have",
    { ...x({}), outputs: [{ name: "q" }] },
    /no output of this name; it has "y", "z"/,
  ),
  refused("H2e", "a name with NUL", x({ name: "x\u0000" }), /no input of this name/),
  refused("H2f", "an empty name", x({ name: "" }), /has no name/),
  refused(
    "H2g",
    "100,000 outputs",
    { ...x({}), outputs: Array.from({ length: 100_000 }, (_, i) => ({ name: `o${i}` })) },
    /objects|at most 4096/,
  ),
  refused(
    "H2h",
    "5,000 outputs",
    { ...x({}), outputs: Array.from({ length: 5000 }, (_, i) => ({ name: `o${i}` })) },
    /lists 5000 tensors; at most 4096/,
  ),
  refused(
    "H2i",
    "5,000 inputs",
    { inputs: Array.from({ length: 5000 }, (_, i) => ({ ...X, name: `i${i}` })) },
    /lists 5000 tensors/,
  ),
  refused(
    "H2j",
    "thousands of faults are told in a few lines",
    { inputs: Array.from({ length: 4000 }, (_, i) => ({ ...X, name: `i${i}` })) },
    /more faults/,
  ),
  refused("H2k", "a negative dim", x({ shape: [-1, 16] }), /no shape, an array of sizes from 0 up/),
  refused("H2l", "a dim that is text", x({ shape: ["1", 3] }), /has no shape/),
  refused("H2m", "a dim with a fraction", x({ shape: [1.5, 2] }), /has no shape/),
  refused(
    "H2n",
    "a dim beyond 2^53",
    '{"inputs":[{"name":"x","shape":[9007199254740993,1],"datatype":"FP32","data":[]}]}',
    /has no shape|more elements/,
  ),
  refused(
    "H2o",
    "dims whose product has no double",
    x({ shape: [2 ** 40, 2 ** 40] }),
    /more elements than a request may carry/,
  ),
  refused("H2p", "dims whose product is 2^64", x({ shape: [2 ** 32, 2 ** 32] }), /more elements/),
  refused(
    "H2q",
    "a large product with a zero",
    x({ shape: [2 ** 40, 2 ** 40, 0], data: [] }),
    /expects FP32\[N,3\]|more elements/,
  ),
  refused(
    "H2r",
    "hundreds of dims",
    x({ shape: Array.from({ length: 300 }, () => 1) }),
    /has no shape/,
  ),
  refused("H2s", "a shape of another rank", x({ shape: [3] }), /expects FP32\[N,3\]/),
  refused("H2t", "a shape that is an object", x({ shape: { 0: 1 } }), /has no shape/),
  refused("H2u", "another datatype than the model's", x({ datatype: "INT32" }), /has type INT32/),
  refused("H2v", "a datatype that is none", x({ datatype: "FP8" }), /no datatype such as FP32/),
  refused(
    "H2w",
    "a datatype in small letters",
    x({ datatype: "fp32" }),
    /no datatype such as FP32/,
  ),
  refused(
    "H2x",
    "FP16 in JSON",
    x({ datatype: "FP16" }),
    /FP16 tensors cannot be sent as JSON: send the tensor as binary/,
  ),
  refused("H2y", "BF16 in JSON", x({ datatype: "BF16" }), /BF16 tensors cannot be sent as JSON/),
  refused(
    "H2z",
    "shared memory",
    x({ parameters: { shared_memory_region: "a", shared_memory_byte_size: 12 }, data: undefined }),
    /shared memory, which is not offered/,
  ),
];

const DATA_FAULTS: readonly RestCheck[] = [
  refused("H3a", "too few elements", x({ data: [1, 2] }), /3 elements, its data 2/),
  refused("H3b", "too many elements", x({ data: [1, 2, 3, 4] }), /more elements than its shape/),
  refused(
    "H3c",
    "ragged rows",
    x({
      shape: [2, 3],
      data: [
        [1, 2, 3],
        [4, 5],
      ],
    }),
    /row of its data has 2 elements/,
  ),
  refused("H3d", "rows nested too deep", x({ data: [[[1, 2, 3]]] }), /nested, but not/),
  refused("H3e", "numbers as text", x({ data: ["1", "2", "3"] }), /where a number is expected/),
  refused("H3f", "null among numbers", x({ data: [1, null, 3] }), /"null" where a number/),
  refused("H3g", "data that is null", x({ data: null }), /no array/),
  refused("H3h", "data that is an object", x({ data: { 0: 1 } }), /no array/),
  refused("H3i", "no data", x({ data: undefined }), /data is missing/),
  refused(
    "H3j",
    "NaN as Python writes it",
    data("[NaN,2,3]"),
    /NaN.*send the tensor as binary data/,
  ),
  refused("H3k", "Infinity", data("[1,-Infinity,3]"), /-Infinity.*binary/),
  refused("H3l", "a number beyond FP32", data("[1,2,1e39]"), /1e39, is no FP32/),
  refused("H3m", "numbers that are none in JSON", data("[01,2,3]"), /where a number/),
  refused("H3n", "hexadecimal", data("[0x10,2,3]"), /no JSON array|where a number/),
  refused("H3o", "a comma too many", data("[1,2,3,]"), /where a number|more elements/),
  refused(
    "H3p",
    "a number of a million digits",
    data(`[${"1".repeat(1_000_000)},2,3]`),
    /is no FP32|more than 1000/,
  ),
  refused(
    "H3q",
    "a million long integers",
    data(`[${"1234567890123456789,".repeat(200_000)}1]`),
    /more elements than its shape/,
  ),
];

const BINARY_FAULTS: readonly RestCheck[] = [
  ...["-1", "1e2", "0x5", "NaN", "", "99999999999999999999", "1000000", "5.0", "+5"].map(
    (value, i) =>
      refused(
        `H4${"abcdefghi"[i]}`,
        `header length ${JSON.stringify(value)}`,
        x({}),
        /Inference-Header-Content-Length is/,
        header(value),
      ),
  ),
  refused("H4j", "a header length in the middle of the JSON", x({}), /no JSON/, header("20")),
  withTail(
    "H4k",
    "bytes are missing",
    binaryInput("x", "FP32", [1, 3], 12),
    Buffer.alloc(11),
    /11 bytes of the body are left/,
  ),
  withTail(
    "H4l",
    "bytes are left over",
    binaryInput("x", "FP32", [1, 3], 12),
    Buffer.alloc(13),
    /1 bytes of the body belong to no input/,
  ),
  withTail(
    "H4m",
    "a size that is not that of the shape",
    binaryInput("x", "FP32", [1, 3], 8),
    Buffer.alloc(8),
    /takes 12 bytes, its data has 8/,
  ),
  withTail(
    "H4n",
    "a negative size",
    binaryInput("x", "FP32", [1, 3], -12),
    Buffer.alloc(12),
    /no number of bytes/,
  ),
  withTail(
    "H4o",
    "a size with a fraction",
    binaryInput("x", "FP32", [1, 3], 1.5),
    Buffer.alloc(12),
    /no number of bytes/,
  ),
  withTail(
    "H4p",
    "a huge size",
    binaryInput("x", "FP32", [1, 3], 2 ** 52),
    Buffer.alloc(12),
    /bytes of the body are left/,
  ),
  withTail(
    "H4q",
    "a huge shape",
    binaryInput("x", "FP32", [2 ** 40, 2 ** 40], 12),
    Buffer.alloc(12),
    /more elements/,
  ),
  withTail(
    "H4r",
    "data and bytes",
    { ...X, parameters: { binary_data_size: 12 } },
    Buffer.alloc(12),
    /both data and binary_data_size/,
  ),
  withTail(
    "H4s",
    "strings whose lengths go beyond the bytes",
    binaryInput("x", "BYTES", [1], 8),
    Buffer.alloc(8, 255),
    /BYTES end inside/,
  ),
  withTail(
    "H4t",
    "truth values that are neither",
    binaryInput("x", "BOOL", [1], 1),
    Buffer.of(2),
    /neither 0 nor 1/,
  ),
  refused(
    "H4u",
    "a size without the header",
    { inputs: [binaryInput("x", "FP32", [1, 3], 12)] },
    /no header Inference-Header/,
  ),
  refused(
    "H4v",
    "a form that is no truth value",
    { ...x({}), parameters: { binary_data_output: "yes" } },
    /binary_data_output is neither/,
  ),
  refused(
    "H4w",
    "no classes",
    { ...x({}), outputs: [{ name: "y", parameters: { classification: 0 } }] },
    /classification is no number/,
  ),
];

const BODY_FAULTS: readonly RestCheck[] = [
  refused(
    "H5a",
    "an encoding that is not known",
    x({}),
    /content encoding "br"/,
    { "content-encoding": "br" },
    415,
  ),
  refused("H5b", "two encodings", x({}), /once/, { "content-encoding": "gzip, gzip" }, 415),
  refused("H5c", "no gzip at all", x({}), /content encoding/, { "content-encoding": "gzip" }),
  refused(
    "H5d",
    "gzip that is cut off",
    gzipSync(JSON.stringify(x({}))).subarray(0, 40),
    /content encoding/,
    { "content-encoding": "gzip" },
  ),
  refused(
    "H5e",
    "a bomb",
    gzipSync(Buffer.alloc(50_000_000)),
    /unfolds to more than 200 times/,
    { "content-encoding": "gzip" },
    413,
  ),
  {
    id: "H5f",
    title: "a body beyond the limit is refused by its length alone",
    request: { method: "POST", path: AFFINE, headers: { "content-length": "67108865" } },
    expect: { status: 413, error: /larger than 67108864 bytes/ },
  },
];

/** All checks of this kind. */
export const HOSTILE: readonly RestCheck[] = [
  ...JSON_FAULTS,
  ...TENSOR_FAULTS,
  ...DATA_FAULTS,
  ...BINARY_FAULTS,
  ...BODY_FAULTS,
];
