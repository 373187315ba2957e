// Tensors as bytes behind the JSON of a request (binary tensor data extension), or as the whole body. Tensors are
// views of the body: nothing is copied.

import type { Diagnostic } from "../base/diagnostic.ts";
import { type DType, dtypeBytes } from "../graph/dtype.ts";
import type { ValueType } from "../graph/graph.ts";
import type { Tensor } from "../graph/tensor.ts";
import { bytesFault } from "./bytes-tensor.ts";
import { datatypeOf, dtypeOf } from "./datatype.ts";
import { called, requestFault } from "./fault.ts";
import { shapeFault } from "./json-data.ts";
import { protocolDims } from "./metadata.ts";
import type { ParsedRequest } from "./request.ts";

/** The header that says how many bytes of a body are JSON. */
export const HEADER_LENGTH = "Inference-Header-Content-Length";

/**
 * How many bytes of a body are JSON by that header, all without it; or why the header cannot be.
 */
export function headerLengthOf(
  header: string | undefined,
  bodyBytes: number,
): number | { readonly fault: string } {
  if (header === undefined) return bodyBytes;
  // Fifteen digits are beyond every body, and a number as it stands.
  if (!/^\d{1,15}$/.test(header)) {
    return { fault: `${HEADER_LENGTH} is no number of bytes from 0 up` };
  }
  const length = Number(header);
  return length <= bodyBytes
    ? length
    : { fault: `${HEADER_LENGTH} is ${length}, and the body has ${bodyBytes} bytes` };
}

/** The bytes behind the JSON, taken input by input. */
export class BinaryTail {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Bytes that no input has taken. */
  get left(): number {
    return this.#bytes.byteLength - this.#at;
  }

  /** The next tensor, or a sentence about what is wrong. */
  take(dtype: DType, shape: readonly number[], size: unknown): Tensor | string {
    if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
      return "its binary_data_size is no number of bytes from 0 up";
    }
    if (size > this.left) {
      return `its binary_data_size is ${size}, and ${this.left} bytes of the body are left for it`;
    }
    const from = this.#at;
    this.#at += size;
    return tensorFromBytes(dtype, shape, this.#bytes.subarray(from, this.#at));
  }
}

/** A tensor that is a view of the bytes, or a sentence about why they are none. */
export function tensorFromBytes(
  dtype: DType,
  shape: readonly number[],
  bytes: Uint8Array,
): Tensor | string {
  const fault = shapeFault(dtype, shape) ?? sizeFault(dtype, shape, bytes);
  return fault ?? { dtype, shape, data: { kind: "bytes", bytes } };
}

function sizeFault(dtype: DType, shape: readonly number[], bytes: Uint8Array): string | undefined {
  const count = shape.reduce((a, b) => a * b, 1);
  if (dtype === "string") return bytesFault(bytes, count);
  const wanted = dtypeBytes(dtype, count);
  if (bytes.byteLength !== wanted) {
    return `its shape [${shape.join(",")}] of ${datatypeOf(dtype)} takes ${wanted} bytes, its data has ${bytes.byteLength}`;
  }
  // The runtime computes with whatever byte stands for a truth value.
  if (dtype === "bool" && bytes.some((byte) => byte > 1)) {
    return "a byte of its data is neither 0 nor 1";
  }
  return undefined;
}

/** The parameters of a request whose outputs are all to be binary. */
const ALL_BINARY: ReadonlyMap<string, boolean> = new Map([["binary_data_output", true]]);

/**
 * A request that is nothing but the bytes of the model's one input. One dim may vary and follows from the number
 * of bytes; of two, the first one is taken for the batch and is 1. Bytes for an input of strings are one string.
 */
export function rawRequest(
  body: Uint8Array,
  inputs: ReadonlyMap<string, ValueType>,
): ParsedRequest {
  const refuse = (text: string): ParsedRequest => ({ faults: [rawFault(text)] });
  const [only] = inputs;
  if (only === undefined || inputs.size > 1) {
    return refuse(`the model has ${inputs.size} inputs, and a raw request is for a model of one`);
  }
  const [name, { dtype, shape }] = only;
  if (dtypeOf(datatypeOf(dtype)) === undefined || shape === undefined) {
    return refuse(`the type or shape of ${called("input", name)} is not known to the protocol`);
  }
  const bytes = dtype === "string" ? oneString(body) : body;
  const found = rawShape(protocolDims(shape), dtype, body.byteLength);
  if (typeof found === "string") return refuse(found);
  const value = tensorFromBytes(dtype, found, bytes);
  if (typeof value === "string") return { faults: [requestFault(called("input", name), value)] };
  const request = { id: undefined, outputs: undefined, parameters: ALL_BINARY };
  return { request: { ...request, inputs: new Map([[name, value]]) } };
}

function rawFault(text: string): Diagnostic {
  return requestFault("raw request", `${text}; send JSON, or JSON with binary tensors`);
}

/** The shape that so many bytes have, or why there is none. */
function rawShape(
  dims: readonly number[],
  dtype: DType,
  bytes: number,
): readonly number[] | string {
  const shape = [...dims];
  if (dtype === "string") {
    const one = shape.map((dim) => (dim < 0 ? 1 : dim));
    if (one.every((dim) => dim === 1)) return one;
    return `the model expects [${dims.join(",")}] strings, and raw bytes are one`;
  }
  let open = shape.filter((dim) => dim < 0).length;
  if (open === 2 && (shape[0] ?? 0) < 0) {
    shape[0] = 1;
    open = 1;
  }
  if (open > 1) return `more than one dim of the shape [${dims.join(",")}] varies`;
  if (open === 0) return shape;
  const known = dtypeBytes(
    dtype,
    shape.reduce((a, b) => (b < 0 ? a : a * b), 1),
  );
  if (known === 0 || bytes % known !== 0) {
    return `${bytes} bytes are no whole number of rows of [${dims.join(",")}], ${known} bytes each`;
  }
  return shape.map((dim) => (dim < 0 ? bytes / known : dim));
}

function oneString(body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4 + body.byteLength);
  new DataView(bytes.buffer).setUint32(0, body.byteLength, true);
  bytes.set(body, 4);
  return bytes;
}
