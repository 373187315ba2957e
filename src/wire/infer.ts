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
import { type DataPlace, outlineTextOf, readOutline } from "./json-outline.ts";
import type { InferRequest, ParsedRequest, RequestedOutput } from "./request.ts";

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
  const outline = outlineTextOf(text);
  if ("fault" in outline) return refused(`the body is no JSON: ${outline.fault}`);
  const { places } = outline;
  const behind = form.headerLength === undefined ? undefined : body.subarray(length);
  const content = { text, places, tail: behind && new BinaryTail(behind) };
  const known = forms.get(outline.text);
  const filled = known && fill(known, content);
  if (filled !== undefined) return { request: filled };
  const read = readOutline(outline);
  if ("fault" in read) return refused(`the body is no JSON: ${read.fault}`);
  const tail = behind && new BinaryTail(behind);
  const reader = new Reader({ text, places, tail });
  const parsed = reader.read(read.document);
  if ("request" in parsed) remember(outline.text, { ...parsed.request, inputs: reader.inputs });
  return parsed;
}

/** The bytes of a request: its JSON, where in it data lies, and what stands behind it. */
interface Content {
  readonly text: Buffer;
  readonly places: readonly DataPlace[];
  readonly tail: BinaryTail | undefined;
}

/** An input without its content, which has so many bytes behind the JSON, or lies at a place of it. */
interface InputForm {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly size?: unknown;
  readonly place?: unknown;
}

/** A request without the content of its tensors. */
interface RequestOutline extends Omit<InferRequest, "inputs"> {
  readonly inputs: readonly InputForm[];
}

/**
 * Requests that were right, by the text of their outline: those of one client differ in their tensors alone, and to
 * read the rest again takes 13 µs (docs/design/serving-speed.md).
 */
const forms = new Map<string, RequestOutline>();
const FORMS_MAX = 64;
const FORM_CHARS_MAX = 2048;

function remember(text: string, form: RequestOutline): void {
  if (text.length > FORM_CHARS_MAX) return;
  // Ids that differ would fill any memory: which few are kept is of no matter then.
  if (forms.size === FORMS_MAX) forms.clear();
  forms.set(text, form);
}

/** The request of a form with this content; undefined where it does not fit: whoever reads it anew says why. */
function fill(form: RequestOutline, content: Content): InferRequest | undefined {
  const inputs = new Map<string, Tensor>();
  for (const one of form.inputs) {
    const value = tensorOf(one, content);
    if (typeof value === "string") return undefined;
    inputs.set(one.name, value);
  }
  if ((content.tail?.left ?? 0) > 0) return undefined;
  const { id, outputs, parameters } = form;
  return { id, inputs, outputs, parameters };
}

/** The tensor of an input, or a sentence about what is wrong with it. */
function tensorOf(
  { dtype, shape, size, place }: InputForm,
  { text, places, tail }: Content,
): Tensor | string {
  if (size === undefined) {
    if (!fitsJson(dtype)) {
      return `${datatypeOf(dtype)} tensors cannot be sent as JSON: send the tensor as binary data`;
    }
    const at = typeof place === "number" ? places[place] : undefined;
    if (at === undefined) return "its data is missing";
    return tensorFromJson(dtype, shape, text, at.from, at.to);
  }
  if (place !== undefined) return "has both data and binary_data_size";
  return tail === undefined
    ? `has binary_data_size, but the request no header ${HEADER_LENGTH}`
    : tail.take(dtype, shape, size);
}

function refused(text: string): ParsedRequest {
  return { faults: [requestFault("request", text)] };
}

/** Reads one request; collects what is wrong with it. */
class Reader {
  /** Those that were read without a fault. */
  readonly inputs: InputForm[] = [];
  readonly #content: Content;
  readonly #faults: Diagnostic[] = [];
  readonly #inputs = new Map<string, Tensor>();
  readonly #names = new Set<string>();

  constructor(content: Content) {
    this.#content = content;
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
    const left = this.#content.tail?.left ?? 0;
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
    const form = formOf(fields, { name, dtype, shape });
    const value = typeof form === "string" ? form : tensorOf(form, this.#content);
    if (typeof value === "string") this.#fault(where, value);
    else this.#inputs.set(name, value);
    if (typeof form !== "string") this.inputs.push(form);
  }

  #fault(where: string, text: string): void {
    this.#faults.push(requestFault(where, text));
  }
}

/** Where the content of an input is, or a sentence about why there is none. */
function formOf(
  fields: ReadonlyMap<string, unknown>,
  input: Pick<InputForm, "name" | "dtype" | "shape">,
): InputForm | string {
  const given = optional(fields, "parameters");
  const parameters = given === undefined ? undefined : fieldsOf(given);
  if (given !== undefined && parameters === undefined) return "its parameters are no JSON object";
  if (parameters?.has("shared_memory_region") === true) {
    return "its data is said to lie in shared memory, which is not offered here";
  }
  return { ...input, size: parameters?.get("binary_data_size"), place: fields.get("data") };
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
