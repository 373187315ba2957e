// Inference over REST: the request and its answer (R6-R8, R10), datatypes (R11-R13), binary tensors (R14-R16),
// compression and parameters.

import { deflateSync, gunzipSync, gzipSync } from "node:zlib";
import { expect } from "vitest";
import { TYPES } from "./harness.ts";
import type { RestAnswer, RestCheck, RestRequest } from "./rest.ts";

const AFFINE = "/v2/models/affine/infer";
const TYPES_PATH = "/v2/models/types/infer";

/** Input `x` of `affine`. */
const X = { name: "x", shape: [1, 3], datatype: "FP32", data: [1, 2, 3] };
const Y = { name: "y", datatype: "FP32", shape: [1, 3], data: [3, 5, 7] };

function bytes(...values: number[]): Buffer {
  return Buffer.from(Float32Array.from(values).buffer);
}

/** JSON with bytes behind it. */
export function binary(document: unknown, ...tail: Uint8Array[]): Partial<RestRequest> {
  const head = Buffer.from(JSON.stringify(document));
  return {
    headers: { "Inference-Header-Content-Length": String(head.byteLength) },
    body: Buffer.concat([head, ...tail]),
  };
}

/** An input whose bytes lie behind the JSON. */
export function binaryInput(
  name: string,
  datatype: string,
  shape: readonly number[],
  size: number,
): Readonly<Record<string, unknown>> {
  return { name, shape, datatype, parameters: { binary_data_size: size } };
}

/** The JSON of an answer with bytes behind it, and those bytes. */
function parts({ headers, bytes: all }: RestAnswer): { head: unknown; tail: Buffer } {
  const length = Number(headers["inference-header-content-length"]);
  return { head: JSON.parse(all.toString("utf8", 0, length)), tail: all.subarray(length) };
}

function ask(id: string, title: string, body: unknown, json: unknown, path = AFFINE): RestCheck {
  return { id, title, request: { path, body }, expect: { status: 200, json: Object(json) } };
}

/** All inputs of `types`, empty but for one. */
function typesInputs(name: string, given: unknown): unknown[] {
  return Object.keys(TYPES).map((one) =>
    one === name
      ? given
      : one === "FP16" || one === "BF16"
        ? binaryInput(`in_${one}`, one, [0], 0)
        : { name: `in_${one}`, datatype: one, shape: [0], data: [] },
  );
}

/** A type in JSON and back. */
function jsonType(id: string, name: string, data: string): RestCheck {
  const given = { name: `in_${name}`, datatype: name, shape: [3], data: "DATA" };
  const document = { inputs: typesInputs(name, given), outputs: [{ name: `out_${name}` }] };
  const text = JSON.stringify(document).replace('"DATA"', data);
  const head = Buffer.from(text);
  return {
    id,
    title: `${name} in JSON: ${data}`,
    request: {
      path: TYPES_PATH,
      headers: { "Inference-Header-Content-Length": String(head.byteLength) },
      body: head,
    },
    expect: {
      status: 200,
      // As text: JSON.parse would round what must not be rounded.
      also: (answer) => expect(answer.bytes.toString()).toContain(`"data":${data}`),
    },
  };
}

/** A type as bytes and back. */
function binaryType(id: string, name: string, hex: string, count: number): RestCheck {
  const data = Buffer.from(hex, "hex");
  const given = binaryInput(`in_${name}`, name, [count], data.byteLength);
  const output = { name: `out_${name}`, parameters: { binary_data: true } };
  const document = { inputs: typesInputs(name, given), outputs: [output] };
  return {
    id,
    title: `${name} as bytes`,
    request: { path: TYPES_PATH, ...binary(document, data) },
    expect: {
      status: 200,
      also: (answer) => {
        const { head, tail } = parts(answer);
        expect(head).toMatchObject({ outputs: [{ datatype: name, shape: [count] }] });
        expect(tail.toString("hex")).toBe(hex);
      },
    },
  };
}

const REQUESTS: readonly RestCheck[] = [
  ask(
    "R6a",
    "inputs alone: all outputs come back",
    { inputs: [X] },
    {
      outputs: [Y, { name: "z", data: [-1, -2, -3] }],
    },
  ),
  ask(
    "R6b",
    "keys that are not known are ignored",
    { model_name: "x", extra: [{}], inputs: [X] },
    {
      outputs: [Y, {}],
    },
  ),
  ask(
    "R6c",
    "outputs are those that are named",
    { inputs: [X], outputs: [{ name: "z" }] },
    {
      outputs: [{ name: "z" }],
    },
  ),
  ask(
    "R6d",
    "an empty list of outputs is all of them",
    { inputs: [X], outputs: [] },
    {
      outputs: [{ name: "y" }, { name: "z" }],
    },
  ),
  ask(
    "R6e",
    "parameters that are not known are ignored",
    {
      inputs: [{ ...X, parameters: { content_type: "np" } }],
      parameters: { own: "a", other: 1.5, flag: true },
    },
    { outputs: [Y, {}] },
  ),
  ask(
    "R6f",
    "null is what is not set, where a field may be left out",
    { id: null, inputs: [{ ...X, parameters: null }], outputs: null, parameters: null },
    { outputs: [Y, {}] },
  ),
  ask(
    "R6g",
    "so it is for an output",
    { inputs: [X], outputs: [{ name: "y", parameters: null }] },
    { outputs: [Y] },
  ),
  ask(
    "R7a",
    "the answer names the model and the version that ran",
    { inputs: [X] },
    {
      model_name: "affine",
      model_version: "2",
    },
  ),
  ask(
    "R7b",
    "a version that is named runs",
    { inputs: [X] },
    { model_version: "1" },
    "/v2/models/affine/versions/1/infer",
  ),
  ask("R7c", "the id comes back", { id: 'a\u0000ß"', inputs: [X] }, { id: 'a\u0000ß"' }),
  {
    id: "R7d",
    title: "without an id there is none",
    request: { path: AFFINE, body: { inputs: [X] } },
    expect: { status: 200, also: ({ json }) => expect(json).not.toHaveProperty("id") },
  },
  ask("R8a", "nested rows", { inputs: [{ ...X, data: [[1, 2, 3]] }] }, { outputs: [Y, {}] }),
  ask(
    "R8b",
    "more rows, flat",
    { inputs: [{ ...X, shape: [2, 3], data: [1, 2, 3, 4, 5, 6] }] },
    {
      outputs: [{ shape: [2, 3], data: [3, 5, 7, 9, 11, 13] }, {}],
    },
  ),
  ask(
    "R8c",
    "no rows",
    { inputs: [{ ...X, shape: [0, 3], data: [] }] },
    {
      outputs: [{ shape: [0, 3], data: [] }, {}],
    },
  ),
  ask(
    "R8d",
    "the data before its shape",
    { inputs: [{ data: [1, 2, 3], datatype: "FP32", shape: [1, 3], name: "x" }] },
    {
      outputs: [Y, {}],
    },
  ),
  {
    id: "R8e",
    title: "white space and notations of numbers",
    request: {
      path: AFFINE,
      body: '\n{ "inputs" :\t[ {"name":"x","shape":[1,3],"datatype":"FP32","data": [ 1.0e0 ,\r\n 0.2E+1, 300e-2 ] } ] } ',
    },
    expect: { status: 200, json: { outputs: [Y, {}] } },
  },
  ...[
    "",
    "application/json",
    "application/octet-stream",
    "text/plain; charset=utf-8",
    "application/x-unknown",
    "json",
    ";;;",
  ].map(
    (type, i): RestCheck => ({
      id: `R16${"abcdexy"[i]}`,
      title: `content type ${type || "(none)"}`,
      request: {
        path: AFFINE,
        body: { inputs: [X] },
        ...(type !== "" && { headers: { "content-type": type } }),
      },
      expect: { status: 200, json: { outputs: [Y, {}] } },
    }),
  ),
  {
    id: "R16f",
    title: "binary without a content type, as tritonclient sends it",
    request: {
      path: AFFINE,
      ...binary(
        {
          inputs: [binaryInput("x", "FP32", [1, 3], 12)],
          parameters: { binary_data_output: true },
        },
        bytes(1, 2, 3),
      ),
    },
    expect: {
      status: 200,
      headers: {
        "content-type": "application/octet-stream",
        "inference-header-content-length": /^\d+$/,
      },
      also: (answer) => {
        const { head, tail } = parts(answer);
        expect(head).toMatchObject({
          outputs: [
            { name: "y", parameters: { binary_data_size: 12 } },
            { name: "z", parameters: { binary_data_size: 12 } },
          ],
        });
        expect(head).not.toMatchObject({ outputs: [{ data: expect.anything() }, {}] });
        expect(tail).toEqual(bytes(3, 5, 7, -1, -2, -3));
      },
    },
  },
];

const DATATYPES: readonly RestCheck[] = [
  jsonType("R11a", "BOOL", "[true,false,true]"),
  jsonType("R11b", "UINT8", "[0,7,255]"),
  jsonType("R11c", "UINT16", "[0,7,65535]"),
  jsonType("R11d", "UINT32", "[0,7,4294967295]"),
  jsonType("R11e", "INT8", "[-128,0,127]"),
  jsonType("R11f", "INT16", "[-32768,0,32767]"),
  jsonType("R11g", "INT32", "[-2147483648,0,2147483647]"),
  jsonType("R11h", "FP32", "[0.1,-1.5,3.4028235e38]"),
  jsonType("R11i", "FP64", "[0.1,-1.5,1e+300]"),
  jsonType("R12a", "INT64", "[-9223372036854775808,9007199254740993,9223372036854775807]"),
  jsonType("R12b", "UINT64", "[0,9007199254740993,18446744073709551615]"),
  jsonType("R13a", "BYTES", '["","a\\nb","ßπ😀"]'),
  binaryType("R14a", "BOOL", "010001", 3),
  binaryType("R14b", "UINT8", "00ff", 2),
  binaryType("R14c", "UINT16", "0100ffff", 2),
  binaryType("R14d", "UINT32", "01000000ffffffff", 2),
  binaryType("R14e", "UINT64", "ffffffffffffffff", 1),
  binaryType("R14f", "INT8", "80ff7f", 3),
  binaryType("R14g", "INT16", "0080", 1),
  binaryType("R14h", "INT32", "00000080", 1),
  binaryType("R14i", "INT64", "0000000000000080", 1),
  binaryType("R14j", "FP16", "003c017c00fc", 3),
  binaryType("R14k", "BF16", "803fc07f80ff", 3),
  binaryType("R14l", "FP32", "0000c07f000080ff01000000", 3),
  binaryType("R14m", "FP64", "000000000000f07f", 1),
  binaryType("R14n", "BYTES", "0000000002000000616203000000e282ac", 3),
  {
    id: "R12c",
    title: "NaN and infinities are null in JSON",
    request: {
      path: AFFINE,
      ...binary(
        { inputs: [binaryInput("x", "FP32", [1, 3], 12)], outputs: [{ name: "y" }] },
        bytes(Number.NaN, Number.POSITIVE_INFINITY, 1),
      ),
    },
    expect: { status: 200, json: { outputs: [{ data: [null, null, 3] }] } },
  },
  {
    id: "R12d",
    title: "NaN and infinities come back as bytes",
    request: {
      path: AFFINE,
      ...binary(
        {
          inputs: [binaryInput("x", "FP32", [1, 3], 12)],
          outputs: [{ name: "z", parameters: { binary_data: true } }],
        },
        bytes(Number.NaN, Number.POSITIVE_INFINITY, 1),
      ),
    },
    expect: {
      status: 200,
      also: (answer) => {
        const { tail } = parts(answer);
        const found = [0, 4, 8].map((at) => tail.readFloatLE(at));
        expect(found).toEqual([Number.NaN, Number.NEGATIVE_INFINITY, -1]);
      },
    },
  },
];

const BINARY: readonly RestCheck[] = [
  {
    id: "R14o",
    title: "bytes in, JSON out",
    request: {
      path: AFFINE,
      ...binary({ inputs: [binaryInput("x", "FP32", [1, 3], 12)] }, bytes(1, 2, 3)),
    },
    expect: {
      status: 200,
      json: { outputs: [Y, {}] },
      headers: { "content-type": /^application\/json/ },
    },
  },
  {
    id: "R14p",
    title: "JSON in, bytes out",
    request: {
      path: AFFINE,
      body: { inputs: [X], outputs: [{ name: "y", parameters: { binary_data: true } }] },
    },
    expect: { status: 200, also: (answer) => expect(parts(answer).tail).toEqual(bytes(3, 5, 7)) },
  },
  {
    id: "R14q",
    title: "an output's own form stands over the request's",
    request: {
      path: AFFINE,
      body: {
        inputs: [X],
        outputs: [{ name: "y", parameters: { binary_data: false } }, { name: "z" }],
        parameters: { binary_data_output: true },
      },
    },
    expect: {
      status: 200,
      also: (answer) => {
        const { head, tail } = parts(answer);
        expect(head).toMatchObject({
          outputs: [Y, { name: "z", parameters: { binary_data_size: 12 } }],
        });
        expect(tail).toEqual(bytes(-1, -2, -3));
      },
    },
  },
  {
    id: "R14r",
    title: "the header for JSON alone is its length",
    request: { path: AFFINE, ...binary({ inputs: [X] }) },
    expect: { status: 200, json: { outputs: [Y, {}] } },
  },
  {
    id: "R14s",
    title: "no rows as no bytes",
    request: { path: AFFINE, ...binary({ inputs: [binaryInput("x", "FP32", [0, 3], 0)] }) },
    expect: { status: 200, json: { outputs: [{ shape: [0, 3], data: [] }, {}] } },
  },
  {
    id: "R15a",
    title: "a raw request: bytes alone, all outputs as bytes",
    request: {
      path: AFFINE,
      headers: { "Inference-Header-Content-Length": "0" },
      body: bytes(1, 2, 3),
    },
    expect: {
      status: 200,
      also: (answer) => expect(parts(answer).tail).toEqual(bytes(3, 5, 7, -1, -2, -3)),
    },
  },
  {
    id: "R15b",
    title: "a raw request of two rows: the dim that varies follows from the bytes",
    request: {
      path: AFFINE,
      headers: { "Inference-Header-Content-Length": "0" },
      body: bytes(1, 2, 3, 4, 5, 6),
    },
    expect: {
      status: 200,
      also: (answer) =>
        expect(parts(answer).head).toMatchObject({ outputs: [{ shape: [2, 3] }, {}] }),
    },
  },
  {
    id: "R15c",
    title: "a raw request of bytes that are no rows",
    request: {
      path: AFFINE,
      headers: { "Inference-Header-Content-Length": "0" },
      body: Buffer.alloc(13),
    },
    expect: { status: 400, error: /13 bytes are no whole number of rows/ },
  },
  {
    id: "R15d",
    title: "a raw request to a model of several inputs",
    request: {
      path: TYPES_PATH,
      headers: { "Inference-Header-Content-Length": "0" },
      body: Buffer.alloc(8),
    },
    expect: { status: 400, error: /a raw request is for a model of one/ },
  },
  {
    id: "X4a",
    title: "classification: the largest of a row as value:index",
    request: {
      path: AFFINE,
      body: { inputs: [X], outputs: [{ name: "y", parameters: { classification: 2 } }] },
    },
    expect: {
      status: 200,
      json: { outputs: [{ name: "y", datatype: "BYTES", shape: [1, 2], data: ["7:2", "5:1"] }] },
    },
  },
  {
    id: "X4b",
    title: "no more classes than there are elements",
    request: {
      path: AFFINE,
      body: { inputs: [X], outputs: [{ name: "z", parameters: { classification: 9 } }] },
    },
    expect: { status: 200, json: { outputs: [{ shape: [1, 3], data: ["-1:0", "-2:1", "-3:2"] }] } },
  },
  {
    id: "R11j",
    title: "an FP16 output in JSON is refused before it is computed",
    request: { path: "/v2/models/half/infer", body: { inputs: [X] } },
    expect: { status: 400, error: /output "h": FP16 tensors cannot be sent as JSON.*binary_data/ },
  },
  {
    id: "R11k",
    title: "an FP16 output as bytes",
    request: {
      path: "/v2/models/half/infer",
      body: { inputs: [X], outputs: [{ name: "h", parameters: { binary_data: true } }] },
    },
    expect: {
      status: 200,
      also: (answer) => expect(parts(answer).tail.toString("hex")).toBe("003c00400042"),
    },
  },
];

const LARGE = {
  name: "x",
  shape: [4000, 3],
  datatype: "FP32",
  data: Array.from({ length: 12_000 }, (_, i) => i % 7),
};

const COMPRESSED: readonly RestCheck[] = [
  ...(["gzip", "deflate"] as const).map(
    (encoding, i): RestCheck => ({
      id: `R16${"gh"[i]}`,
      title: `a request with ${encoding}`,
      request: {
        path: AFFINE,
        headers: { "content-encoding": encoding },
        body: (encoding === "gzip" ? gzipSync : deflateSync)(JSON.stringify({ inputs: [X] })),
      },
      expect: { status: 200, json: { outputs: [Y, {}] } },
    }),
  ),
  {
    id: "R16i",
    title: "binary with gzip: the header counts the bytes before compression",
    request: (() => {
      const { headers, body } = binary(
        { inputs: [binaryInput("x", "FP32", [1, 3], 12)] },
        bytes(1, 2, 3),
      );
      return {
        path: AFFINE,
        headers: { ...headers, "content-encoding": "gzip" },
        body: gzipSync(body as Uint8Array),
      };
    })(),
    expect: { status: 200, json: { outputs: [Y, {}] } },
  },
  {
    id: "R16j",
    title: "a large answer is compressed for who accepts it",
    request: { path: AFFINE, headers: { "accept-encoding": "gzip" }, body: { inputs: [LARGE] } },
    expect: {
      status: 200,
      headers: { "content-encoding": "gzip", vary: /accept-encoding/i },
      also: ({ bytes: all }) =>
        expect(JSON.parse(String(gunzipSync(all)))).toMatchObject({
          outputs: [{ shape: [4000, 3] }, {}],
        }),
    },
  },
  {
    id: "R16k",
    title: "and not for who does not",
    request: {
      path: AFFINE,
      headers: { "accept-encoding": "gzip;q=0" },
      body: { inputs: [LARGE] },
    },
    expect: {
      status: 200,
      json: { outputs: [{ shape: [4000, 3] }, {}] },
      also: ({ headers }) => expect(headers).not.toHaveProperty("content-encoding"),
    },
  },
  {
    id: "R16l",
    title: "a small answer is not compressed",
    request: { path: AFFINE, headers: { "accept-encoding": "gzip" }, body: { inputs: [X] } },
    expect: { status: 200, json: { outputs: [Y, {}] } },
  },
  {
    id: "R17a",
    title: "a body in chunks of unknown length",
    request: {
      path: AFFINE,
      body: Array.from(Buffer.from(JSON.stringify({ inputs: [X] })), (byte) => Buffer.of(byte)),
    },
    expect: { status: 200, json: { outputs: [Y, {}] } },
  },
];

const SLOW = { name: "x", shape: [1], datatype: "FP32", data: [1] };

const SCHEDULE: readonly RestCheck[] = [
  {
    id: "S1a",
    title: "a deadline in microseconds is kept",
    request: {
      path: "/v2/models/slow/infer",
      body: { inputs: [SLOW], parameters: { timeout: 20_000 } },
    },
    expect: { status: 504, error: /./ },
  },
  {
    id: "S1b",
    title: "a deadline in a header is kept",
    request: {
      path: "/v2/models/slow/infer",
      headers: { "x-request-timeout-ms": "20" },
      body: { inputs: [SLOW] },
    },
    expect: { status: 504, error: /./ },
  },
  ask(
    "S1c",
    "time enough",
    { inputs: [X], parameters: { timeout: 60_000_000, priority: 1 } },
    { outputs: [Y, {}] },
  ),
  ask(
    "S1d",
    "no timeout is 0",
    { inputs: [X], parameters: { timeout: 0, priority: 0 } },
    { outputs: [Y, {}] },
  ),
  {
    id: "S1e",
    title: "a timeout that is no number",
    request: { path: AFFINE, body: { inputs: [X], parameters: { timeout: "soon" } } },
    expect: { status: 400, error: /parameters.timeout/ },
  },
  {
    id: "S1f",
    title: "a header that is no number",
    request: { path: AFFINE, headers: { "x-request-timeout-ms": "1s" }, body: { inputs: [X] } },
    expect: { status: 400, error: /x-request-timeout-ms/ },
  },
  {
    id: "S1g",
    title: "a priority that is none",
    request: { path: AFFINE, body: { inputs: [X], parameters: { priority: -1 } } },
    expect: { status: 400, error: /parameters.priority/ },
  },
];

/** All checks of this kind. */
export const INFERENCE: readonly RestCheck[] = [
  ...REQUESTS,
  ...DATATYPES,
  ...BINARY,
  ...COMPRESSED,
  ...SCHEDULE,
];
