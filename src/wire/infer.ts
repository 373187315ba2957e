// Inference requests and responses of the Open Inference Protocol (REST, "Inference"): from JSON to
// tensors that fit the model, and back. Every fault of a request is reported, not just the first.

import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { limits } from "../base/limits.ts";
import type { ValueType } from "../graph/graph.ts";
import type { Tensor } from "../graph/tensor.ts";
import { datatypeOf, dtypeOf } from "./datatype.ts";
import { ExactNumber, fitsJson, tensorFromJson, tensorToJson } from "./json-tensor.ts";
import type { Parameters, ParameterValue, ParsedRequest, RequestedOutput } from "./request.ts";

/** Characters of a name that an error repeats. */
const NAME_SHOWN = 128;

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
  const parameters = readParameters(body.get("parameters"), "parameters", faults);
  if (faults.length > 0) return { faults };
  return { request: { id: typeof id === "string" ? id : undefined, inputs, outputs, parameters } };
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

function readOutputs(listed: unknown, faults: Diagnostic[]): RequestedOutput[] | undefined {
  if (listed === undefined) return undefined;
  if (!Array.isArray(listed)) {
    faults.push(fault("outputs", "is no array"));
    return undefined;
  }
  if (listed.length > limits.requestTensorsMax) {
    faults.push(tooMany("outputs", listed.length));
    return undefined;
  }
  const found = new Map<string, RequestedOutput>();
  for (const [i, entry] of listed.entries()) {
    const fields = fieldsOf(entry);
    const name = fields?.get("name");
    if (typeof name !== "string") faults.push(fault(`outputs[${i}]`, "has no name"));
    else if (found.has(name)) faults.push(fault(outputCalled(name), "is asked for twice"));
    else found.set(name, readOutput(name, fields?.get("parameters"), faults));
  }
  return found.size === 0 ? undefined : [...found.values()];
}

function readOutput(name: string, given: unknown, faults: Diagnostic[]): RequestedOutput {
  const where = outputCalled(name);
  const parameters = readParameters(given, where, faults);
  const binary = parameters.get("binary_data");
  if (binary !== undefined && typeof binary !== "boolean") {
    faults.push(fault(where, "its binary_data is neither true nor false"));
  }
  const classification = parameters.get("classification");
  if (
    classification !== undefined &&
    !(Number.isSafeInteger(classification) && Number(classification) > 0)
  ) {
    faults.push(fault(where, "its classification is no number of classes from 1 up"));
  }
  return {
    name,
    ...(typeof binary === "boolean" && { binary }),
    ...(typeof classification === "number" && { classification }),
  };
}

function outputCalled(name: string): string {
  return `output "${name.slice(0, NAME_SHOWN)}"`;
}

/**
 * Parameters of a request, an output, or a call of the repository: strings, numbers and truth values by name.
 * Integers that doubles cannot hold are bigints.
 */
export function readParameters(given: unknown, where: string, faults: Diagnostic[]): Parameters {
  const parameters = new Map<string, ParameterValue>();
  if (given === undefined) return parameters;
  const fields = fieldsOf(given);
  if (fields === undefined) faults.push(fault(where, "the parameters are no JSON object"));
  for (const [name, value] of fields ?? []) {
    if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") {
      parameters.set(name, value);
    } else if (value instanceof ExactNumber) parameters.set(name, BigInt(value.text));
    else {
      const text = `the parameter "${name.slice(0, NAME_SHOWN)}" is no string, number or truth value`;
      faults.push(fault(where, text));
    }
  }
  return parameters;
}

/**
 * Outputs that a model would compute for nothing: their elements cannot stand in JSON. All outputs are
 * wanted where none are named.
 */
export function outputFaults(
  outputs: ReadonlyMap<string, ValueType>,
  requested: readonly RequestedOutput[] | undefined,
): Diagnostic[] {
  const wanted = requested?.map((one) => one.name);
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
