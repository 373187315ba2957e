// Inference requests of the Open Inference Protocol over REST: from the bytes of a body to tensors. Every fault of
// a request is reported, not just the first. Types and shapes are checked against the model by whoever runs it;
// here it is checked that there are tensors at all.

import { isUtf8 } from "node:buffer";
import type { Diagnostic } from "../base/diagnostic.ts";
import { limits } from "../base/limits.ts";
import type { DType } from "../graph/dtype.ts";
import type { ValueType } from "../graph/graph.ts";
import type { Tensor } from "../graph/tensor.ts";
import { BinaryTail, HEADER_LENGTH, headerLengthOf, rawRequest } from "./binary.ts";
import { datatypeOf, dtypeOf } from "./datatype.ts";
import { called, requestFault, tooManyTensors } from "./fault.ts";
import { fieldsOf, optional, readParameters, shapeOf } from "./fields.ts";
import { fitsJson, tensorFromJson } from "./json-data.ts";
import { type DataPlace, outlineOf } from "./json-outline.ts";
import type { ParsedRequest, RequestedOutput } from "./request.ts";

/** What has to be known beside the body. */
export interface RequestForm {
  /** The header `Inference-Header-Content-Length`, if it was sent. */
  readonly headerLength?: string | undefined;
  /** The model's inputs: what a raw request is read as. */
  readonly inputs: ReadonlyMap<string, ValueType>;
}

/** Reads the body of a request. Its binary tensors are views of it. */
export function parseInferRequest(body: Buffer, form: RequestForm): ParsedRequest {
  const length = headerLengthOf(form.headerLength, body.byteLength);
  if (typeof length !== "number") return { faults: [requestFault("request", length.fault)] };
  if (length === 0 && form.headerLength !== undefined) return rawRequest(body, form.inputs);
  const text = body.subarray(0, length);
  if (length === 0) return refused('the body is empty; send {"inputs": […]} as JSON');
  if (!isUtf8(text)) return refused("the JSON is no UTF-8 text");
  const outline = outlineOf(text);
  if ("fault" in outline) return refused(`the body is no JSON: ${outline.fault}`);
  const tail = form.headerLength === undefined ? undefined : new BinaryTail(body.subarray(length));
  return new Reader(text, outline.places, tail).read(outline.document);
}

function refused(text: string): ParsedRequest {
  return { faults: [requestFault("request", text)] };
}

/** Reads one request; collects what is wrong with it. */
class Reader {
  readonly #text: Buffer;
  readonly #places: readonly DataPlace[];
  readonly #tail: BinaryTail | undefined;
  readonly #faults: Diagnostic[] = [];
  readonly #inputs = new Map<string, Tensor>();
  readonly #names = new Set<string>();

  constructor(text: Buffer, places: readonly DataPlace[], tail: BinaryTail | undefined) {
    this.#text = text;
    this.#places = places;
    this.#tail = tail;
  }

  read(document: unknown): ParsedRequest {
    const faults = this.#faults;
    const body = fieldsOf(document);
    if (body === undefined) return refused("the body is no JSON object");
    const id = optional(body, "id");
    if (id !== undefined && typeof id !== "string") faults.push(requestFault("id", "is no string"));
    this.#readInputs(body.get("inputs"));
    const outputs = readOutputs(optional(body, "outputs"), faults);
    const parameters = readParameters(optional(body, "parameters"), "parameters", faults);
    const binary = parameters.get("binary_data_output");
    if (binary !== undefined && typeof binary !== "boolean") {
      faults.push(requestFault("parameters", "binary_data_output is neither true nor false"));
    }
    if (faults.length > 0) return { faults };
    const inputs = this.#inputs;
    return {
      request: { id: typeof id === "string" ? id : undefined, inputs, outputs, parameters },
    };
  }

  #readInputs(listed: unknown): void {
    if (!Array.isArray(listed) || listed.length === 0) {
      this.#fault("inputs", "is missing or no array of tensors");
      return;
    }
    if (listed.length > limits.requestTensorsMax) {
      this.#faults.push(tooManyTensors("inputs", listed.length));
      return;
    }
    for (const [i, entry] of listed.entries()) this.#readInput(entry, i);
    const left = this.#tail?.left ?? 0;
    if (left > 0 && this.#faults.length === 0) {
      this.#fault("request", `${left} bytes of the body belong to no input`);
    }
  }

  #readInput(entry: unknown, position: number): void {
    const fields = fieldsOf(entry);
    const name = fields?.get("name");
    if (fields === undefined || typeof name !== "string" || name === "") {
      this.#fault(`inputs[${position}]`, "has no name");
      return;
    }
    const where = called("input", name);
    if (this.#names.has(name)) this.#fault(where, "is given twice");
    this.#names.add(name);
    const shape = shapeOf(fields.get("shape"));
    const datatype = fields.get("datatype");
    const dtype = typeof datatype === "string" ? dtypeOf(datatype) : undefined;
    if (shape === undefined) this.#fault(where, "has no shape, an array of sizes from 0 up");
    if (dtype === undefined) {
      this.#fault(where, "has no datatype such as FP32, or one that is not known");
    }
    if (shape === undefined || dtype === undefined) return;
    const value = this.#tensor(fields, dtype, shape);
    if (typeof value === "string") this.#fault(where, value);
    else this.#inputs.set(name, value);
  }

  #tensor(
    fields: ReadonlyMap<string, unknown>,
    dtype: DType,
    shape: readonly number[],
  ): Tensor | string {
    const given = optional(fields, "parameters");
    const parameters = given === undefined ? undefined : fieldsOf(given);
    if (given !== undefined && parameters === undefined) return "its parameters are no JSON object";
    if (parameters?.has("shared_memory_region") === true) {
      return "its data is said to lie in shared memory, which is not offered here";
    }
    const size = parameters?.get("binary_data_size");
    const place = fields.get("data");
    if (size === undefined) return this.#jsonTensor(dtype, shape, place);
    if (place !== undefined) return "has both data and binary_data_size";
    return this.#tail === undefined
      ? `has binary_data_size, but the request no header ${HEADER_LENGTH}`
      : this.#tail.take(dtype, shape, size);
  }

  #jsonTensor(dtype: DType, shape: readonly number[], place: unknown): Tensor | string {
    if (!fitsJson(dtype)) {
      return `${datatypeOf(dtype)} tensors cannot be sent as JSON: send the tensor as binary data`;
    }
    const at = typeof place === "number" ? this.#places[place] : undefined;
    if (at === undefined) return "its data is missing";
    return tensorFromJson(dtype, shape, this.#text, at.from, at.to);
  }

  #fault(where: string, text: string): void {
    this.#faults.push(requestFault(where, text));
  }
}

function readOutputs(listed: unknown, faults: Diagnostic[]): RequestedOutput[] | undefined {
  if (listed === undefined) return undefined;
  if (!Array.isArray(listed)) {
    faults.push(requestFault("outputs", "is no array"));
    return undefined;
  }
  if (listed.length > limits.requestTensorsMax) {
    faults.push(tooManyTensors("outputs", listed.length));
    return undefined;
  }
  const found = new Map<string, RequestedOutput>();
  for (const [i, entry] of listed.entries()) {
    const fields = fieldsOf(entry);
    const name = fields?.get("name");
    if (fields === undefined || typeof name !== "string")
      faults.push(requestFault(`outputs[${i}]`, "has no name"));
    else if (found.has(name)) {
      faults.push(requestFault(called("output", name), "is asked for twice"));
    } else found.set(name, readOutput(name, optional(fields, "parameters"), faults));
  }
  return found.size === 0 ? undefined : [...found.values()];
}

function readOutput(name: string, given: unknown, faults: Diagnostic[]): RequestedOutput {
  if (given === undefined) return { name };
  const where = called("output", name);
  const parameters = readParameters(given, where, faults);
  const binary = parameters.get("binary_data");
  if (binary !== undefined && typeof binary !== "boolean") {
    faults.push(requestFault(where, "its binary_data is neither true nor false"));
  }
  if (parameters.has("shared_memory_region")) {
    faults.push(requestFault(where, "is to go into shared memory, which is not offered here"));
  }
  const classes = parameters.get("classification");
  if (classes !== undefined && !(Number.isSafeInteger(classes) && Number(classes) > 0)) {
    faults.push(requestFault(where, "its classification is no number of classes from 1 up"));
  }
  return {
    name,
    ...(typeof binary === "boolean" && { binary }),
    ...(typeof classes === "number" && { classification: classes }),
  };
}
