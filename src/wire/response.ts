// Inference responses of the Open Inference Protocol over REST: from tensors to JSON and, where they are asked
// for, the bytes of tensors behind it.

import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { limits } from "../base/limits.ts";
import type { DType } from "../graph/dtype.ts";
import type { ValueType } from "../graph/graph.ts";
import type { Tensor } from "../graph/tensor.ts";
import { canClassify, classified } from "./classification.ts";
import { datatypeOf, dtypeOf } from "./datatype.ts";
import { called } from "./fault.ts";
import { fitsJson } from "./json-data.ts";
import { JsonWriter } from "./json-write.ts";
import type { InferRequest, RequestedOutput } from "./request.ts";

/** An answer as it is sent. */
export interface EncodedResponse {
  /** Bytes of JSON at the beginning, if tensors follow it. */
  readonly headerLength: number | undefined;
  /** The JSON, then the tensors; the bytes of tensors are not copied. */
  readonly chunks: readonly Uint8Array[];
}

/** Whether an output goes back as bytes: by its own parameter, or by that of the request. */
function isBinary(request: InferRequest, requested: RequestedOutput | undefined): boolean {
  return requested?.binary ?? request.parameters.get("binary_data_output") === true;
}

/**
 * Outputs that a model would compute for nothing: their elements cannot stand in the form that is asked for. All
 * outputs are wanted where none are named.
 */
export function outputFaults(
  outputs: ReadonlyMap<string, ValueType>,
  request: InferRequest,
): Diagnostic[] {
  const faults: Diagnostic[] = [];
  const requested = request.outputs && new Map(request.outputs.map((one) => [one.name, one]));
  for (const [name, { dtype }] of outputs) {
    const wanted = requested?.get(name);
    if (request.outputs !== undefined && wanted === undefined) continue;
    const text = formFault(dtype, wanted, isBinary(request, wanted));
    if (text !== undefined) faults.push(outputFault(name, text));
  }
  return faults;
}

function formFault(
  dtype: DType,
  wanted: RequestedOutput | undefined,
  binary: boolean,
): string | undefined {
  if (wanted?.classification !== undefined) {
    return canClassify(dtype)
      ? undefined
      : `${datatypeOf(dtype)} elements have no order to be classified by`;
  }
  if (dtypeOf(datatypeOf(dtype)) === undefined) return `the protocol has no type for ${dtype}`;
  return binary || fitsJson(dtype)
    ? undefined
    : `${datatypeOf(dtype)} tensors cannot be sent as JSON`;
}

function outputFault(name: string, text: string): Diagnostic {
  return diagnostic({
    id: "request/output-type",
    severity: "error",
    where: called("output", name),
    text,
    fix: 'Ask for it as bytes ("parameters": {"binary_data": true}), or name the other outputs in the request.',
  });
}

/**
 * The response, or why it cannot be sent: too large for JSON, or strings that are no text. For outputs without the
 * faults above.
 */
export function encodeInferResponse(response: {
  readonly model: string;
  readonly version: number;
  readonly request: InferRequest;
  readonly outputs: ReadonlyMap<string, Tensor>;
}): EncodedResponse | { readonly faults: readonly Diagnostic[] } {
  const { request } = response;
  const wanted = new Map(request.outputs?.map((one) => [one.name, one]));
  const parts = [...response.outputs].map(([name, value]) => {
    const requested = wanted.get(name);
    const classes = requested?.classification;
    return {
      name,
      value: classes === undefined ? value : classified(value, classes),
      binary: isBinary(request, requested),
    };
  });
  const tooLarge = sizeFault(parts.filter((one) => !one.binary).map((one) => one.value));
  if (tooLarge !== undefined) return { faults: [tooLarge] };
  const writer = new JsonWriter();
  const head = JSON.stringify({
    model_name: response.model,
    model_version: String(response.version),
    ...(request.id === undefined ? {} : { id: request.id }),
  });
  writer.text(`${head.slice(0, -1)},"outputs":[`);
  for (const [i, part] of parts.entries()) {
    if (i > 0) writer.text(",");
    if (!writeOutput(writer, part)) {
      return { faults: [outputFault(part.name, "its strings are no UTF-8 text, as JSON has it")] };
    }
  }
  writer.text("]}");
  const json = writer.bytes();
  const tensors = parts.filter((one) => one.binary).map((one) => one.value.data.bytes);
  return {
    headerLength: parts.some((one) => one.binary) ? json.byteLength : undefined,
    chunks: [json, ...tensors],
  };
}

function writeOutput(
  writer: JsonWriter,
  { name, value, binary }: { name: string; value: Tensor; binary: boolean },
): boolean {
  const head = JSON.stringify({ name, datatype: datatypeOf(value.dtype), shape: value.shape });
  if (binary) {
    const size = value.data.bytes.byteLength;
    writer.text(`${head.slice(0, -1)},"parameters":{"binary_data_size":${size}}}`);
    return true;
  }
  writer.text(`${head.slice(0, -1)},"data":`);
  if (!writer.elements(value)) return false;
  writer.text("}");
  return true;
}

/** Whether values are too many to be written as JSON. */
function sizeFault(values: readonly Tensor[]): Diagnostic | undefined {
  let count = 0;
  for (const { shape } of values) count += shape.reduce((a, b) => a * b, 1);
  if (count <= limits.responseElementsMax) return undefined;
  return diagnostic({
    id: "request/answer-too-large",
    severity: "error",
    where: "outputs",
    text: `the answer has ${count} elements; as JSON at most ${limits.responseElementsMax} can be sent`,
    fix: 'Ask for the outputs as bytes ("parameters": {"binary_data_output": true}), or send fewer rows in one request.',
  });
}
