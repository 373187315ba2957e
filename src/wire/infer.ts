// Inference requests and responses of the Open Inference Protocol (REST, "Inference"): from JSON to
// tensors that fit the model, and back. Every fault of a request is reported, not just the first.

import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { limits } from "../base/limits.ts";
import type { ValueType } from "../graph/graph.ts";
import type { Tensor } from "../graph/tensor.ts";
import { datatypeOf, dtypeOf } from "./datatype.ts";
import { fitsJson, tensorFromJson, tensorToJson } from "./json-tensor.ts";

/** Characters of a name that an error repeats. */
const NAME_SHOWN = 128;

/** What a client asks for. */
export interface InferRequest {
  readonly id: string | undefined;
  readonly inputs: ReadonlyMap<string, Tensor>;
  /** Names of the outputs wanted; all if undefined. */
  readonly outputs: readonly string[] | undefined;
}

/** A request, or all that is wrong with it. */
export type ParsedRequest =
  | { readonly request: InferRequest }
  | { readonly faults: readonly Diagnostic[] };

/**
 * Reads a request document. Types and shapes are checked against the model by the session; here it is
 * checked that there are tensors at all.
 */
export function parseInferRequest(document: unknown): ParsedRequest {
  const body = fieldsOf(document);
  if (body === undefined) return { faults: [fault("request", "the body is no JSON object")] };
  const faults: Diagnostic[] = [];
  const id = body.get("id");
  if (id !== undefined && typeof id !== "string") faults.push(fault("id", "is no string"));
  const inputs = new Map<string, Tensor>();
  const listed = body.get("inputs");
  if (!Array.isArray(listed) || listed.length === 0) {
    faults.push(fault("inputs", "is missing or no array of tensors"));
  } else if (listed.length > limits.requestTensorsMax) {
    faults.push(tooMany("inputs", listed.length));
  } else {
    for (const [i, entry] of listed.entries()) readInput(entry, i, inputs, faults);
  }
  const outputs = readOutputs(body.get("outputs"), faults);
  if (faults.length > 0) return { faults };
  return { request: { id: typeof id === "string" ? id : undefined, inputs, outputs } };
}

function readInput(
  entry: unknown,
  position: number,
  inputs: Map<string, Tensor>,
  faults: Diagnostic[],
): void {
  const fields = fieldsOf(entry);
  const name = fields?.get("name");
  if (fields === undefined || typeof name !== "string" || name === "") {
    faults.push(fault(`inputs[${position}]`, "has no name"));
    return;
  }
  const where = `input "${name.slice(0, NAME_SHOWN)}"`;
  if (inputs.has(name)) faults.push(fault(where, "is given twice"));
  const shape = shapeOf(fields.get("shape"));
  const datatype = fields.get("datatype");
  const dtype = typeof datatype === "string" ? dtypeOf(datatype) : undefined;
  if (shape === undefined) faults.push(fault(where, "has no shape, an array of sizes from 0 up"));
  if (dtype === undefined) {
    faults.push(fault(where, "has no datatype such as FP32, or one that is not known"));
  }
  if (shape === undefined || dtype === undefined) return;
  if (!fitsJson(dtype)) {
    faults.push(fault(where, `${datatypeOf(dtype)} tensors cannot be sent as JSON`));
    return;
  }
  const value = tensorFromJson(dtype, shape, fields.get("data"));
  if (typeof value === "string") faults.push(fault(where, value));
  else inputs.set(name, value);
}

function readOutputs(listed: unknown, faults: Diagnostic[]): readonly string[] | undefined {
  if (listed === undefined) return undefined;
  if (!Array.isArray(listed)) {
    faults.push(fault("outputs", "is no array"));
    return undefined;
  }
  if (listed.length > limits.requestTensorsMax) {
    faults.push(tooMany("outputs", listed.length));
    return undefined;
  }
  const names: string[] = [];
  for (const [i, entry] of listed.entries()) {
    const name = fieldsOf(entry)?.get("name");
    if (typeof name !== "string") faults.push(fault(`outputs[${i}]`, "has no name"));
    else if (names.includes(name)) {
      faults.push(fault(`output "${name.slice(0, NAME_SHOWN)}"`, "is asked for twice"));
    } else names.push(name);
  }
  return names.length === 0 ? undefined : names;
}

/**
 * Outputs that a model would compute for nothing: their elements cannot stand in JSON. All outputs are
 * wanted where none are named.
 */
export function outputFaults(
  outputs: ReadonlyMap<string, ValueType>,
  wanted: readonly string[] | undefined,
): Diagnostic[] {
  return [...outputs].flatMap(([name, { dtype }]) =>
    fitsJson(dtype) || wanted?.includes(name) === false
      ? []
      : [
          diagnostic({
            id: "request/output-type",
            severity: "error",
            where: `output "${name.slice(0, NAME_SHOWN)}"`,
            text: `${datatypeOf(dtype)} tensors cannot be sent as JSON`,
            fix: "Name the other outputs in the request, or end the model with a Cast to float32.",
          }),
        ],
  );
}

/** Whether an answer is too large to be written as JSON. */
export function answerFaults(outputs: ReadonlyMap<string, Tensor>): Diagnostic[] {
  let count = 0;
  for (const { shape } of outputs.values()) count += shape.reduce((a, b) => a * b, 1);
  if (count <= limits.responseElementsMax) return [];
  return [
    diagnostic({
      id: "request/answer-too-large",
      severity: "error",
      where: "outputs",
      text: `the answer has ${count} elements; as JSON at most ${limits.responseElementsMax} can be sent`,
      fix: "Send fewer rows in one request, or ask for fewer outputs.",
    }),
  ];
}

/** The JSON text of a response, for outputs without the faults above. Written as text, so that 64-bit integers keep all digits. */
export function encodeInferResponse(response: {
  readonly model: string;
  readonly version: number;
  readonly id: string | undefined;
  readonly outputs: ReadonlyMap<string, Tensor>;
}): string {
  const outputs = [...response.outputs].map(([name, value]) => {
    const head = JSON.stringify({ name, datatype: datatypeOf(value.dtype), shape: value.shape });
    return `${head.slice(0, -1)},"data":${tensorToJson(value)}}`;
  });
  const head = JSON.stringify({
    model_name: response.model,
    model_version: String(response.version),
    ...(response.id === undefined ? {} : { id: response.id }),
  });
  return `${head.slice(0, -1)},"outputs":[${outputs.join(",")}]}`;
}

/** How metadata describes a tensor: unknown and symbolic dims are -1. */
export interface TensorMetadata {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
}

/** Metadata of a model's inputs or outputs. */
export function tensorMetadata(values: ReadonlyMap<string, ValueType>): TensorMetadata[] {
  return [...values].map(([name, { dtype, shape }]) => ({
    name,
    datatype: datatypeOf(dtype),
    shape: (shape ?? []).map((dim) => (typeof dim === "number" ? dim : -1)),
  }));
}

function shapeOf(value: unknown): readonly number[] | undefined {
  if (!Array.isArray(value) || value.length > limits.rankMax) return undefined;
  const list: readonly unknown[] = value;
  return list.every((dim): dim is number => Number.isSafeInteger(dim) && Number(dim) >= 0)
    ? list
    : undefined;
}

function fieldsOf(value: unknown): ReadonlyMap<string, unknown> | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  return new Map(Object.entries(value));
}

function tooMany(where: string, count: number): Diagnostic {
  return fault(where, `lists ${count} tensors; at most ${limits.requestTensorsMax} may be named`);
}

function fault(where: string, text: string): Diagnostic {
  return diagnostic({
    id: "request/invalid",
    severity: "error",
    where,
    text,
    fix: "See the model's metadata for names, datatypes and shapes.",
  });
}
