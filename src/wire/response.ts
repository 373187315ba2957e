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
function isBinary(
  request: Pick<InferRequest, "parameters">,
  requested: RequestedOutput | undefined,
): boolean {
  return requested?.binary ?? request.parameters.get("binary_data_output") === true;
}

/**
 * Outputs that a model would compute for nothing: their elements cannot stand in the form that is asked for. All
 * outputs are wanted where none are named.
 */
export function outputFaults(
  outputs: ReadonlyMap<string, ValueType>,
  request: Pick<InferRequest, "outputs" | "parameters">,
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
  const { outputs: requested } = request;
  const parts: ResponsePart[] = [];
  for (const [name, value] of response.outputs) {
    const wanted = requested?.find((one) => one.name === name);
    const classes = wanted?.classification;
    parts.push({
      name,
      value: classes === undefined ? value : classified(value, classes),
      binary: isBinary(request, wanted),
    });
  }
  const tooLarge = sizeFault(parts);
  if (tooLarge !== undefined) return { faults: [tooLarge] };
  const writer = new JsonWriter();
  // What is undefined is left out.
  const head = JSON.stringify({
    model_name: response.model,
    model_version: String(response.version),
    id: request.id,
  });
  writer.text(`${head.slice(0, -1)},"outputs":[`);
  const tensors: Uint8Array[] = [];
  let first = true;
  for (const part of parts) {
    if (!first) writer.text(",");
    first = false;
    if (!writeOutput(writer, part)) {
      return { faults: [outputFault(part.name, "its strings are no UTF-8 text, as JSON has it")] };
    }
    if (part.binary) tensors.push(part.value.data.bytes);
  }
  writer.text("]}");
  const json = writer.bytes();
  const headerLength = tensors.length > 0 ? json.byteLength : undefined;
  return { headerLength, chunks: [json, ...tensors] };
}

/** An output as it is sent. */
interface ResponsePart {
  readonly name: string;
  readonly value: Tensor;
  readonly binary: boolean;
}

function writeOutput(writer: JsonWriter, { name, value, binary }: ResponsePart): boolean {
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
function sizeFault(parts: readonly ResponsePart[]): Diagnostic | undefined {
  let count = 0;
  for (const { binary, value } of parts) {
    if (!binary) count += value.shape.reduce((a, b) => a * b, 1);
  }
  if (count <= limits.responseElementsMax) return undefined;
  return diagnostic({
    id: "request/answer-too-large",
    severity: "error",
    where: "outputs",
    text: `the answer has ${count} elements; as JSON at most ${limits.responseElementsMax} can be sent`,
    fix: 'Ask for the outputs as bytes ("parameters": {"binary_data_output": true}), or send fewer rows in one request.',
  });
}
