// ModelInfer of the Open Inference Protocol over gRPC: from the bytes of a ModelInferRequest to tensors, and from
// tensors to the bytes of a ModelInferResponse. Read field by field: two bytes of a message can become an object
// of several hundred, and raw tensors stay views of the message.

import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import type { Diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { DType } from "../graph/dtype.ts";
import type { Tensor } from "../graph/tensor.ts";
import { tensorFromBytes } from "./binary.ts";
import { dtypeOf } from "./datatype.ts";
import { called, requestFault, tooManyTensors } from "./fault.ts";
import { contentsToBytes } from "./grpc-contents.ts";
import { bytesField, expectForm, FieldWalk, MalformedMessage, stringField } from "./grpc-reader.ts";
import { shapeFault } from "./json-data.ts";
import type { Parameters, ParameterValue, ParsedRequest, RequestedOutput } from "./request.ts";

/** A request with the model that it is for. */
export interface GrpcInferRequest {
  readonly model: string;
  /** undefined: the server chooses. */
  readonly version: string | undefined;
  /** For the answer, also where the request is refused. */
  readonly id: string;
  /** Tensors came as raw bytes, and their answer goes back so. */
  readonly raw: boolean;
  readonly parsed: ParsedRequest;
}

/** The parts of the message, not yet looked into; of too many, as many as may be. */
interface Parts {
  model: string;
  version: string;
  id: string;
  readonly inputs: Uint8Array[];
  readonly outputs: Uint8Array[];
  readonly raws: Uint8Array[];
  readonly parameters: Uint8Array[];
}

/** Reads a ModelInferRequest. Types and shapes are checked against the model by whoever runs it. */
export function decodeInferRequest(message: Uint8Array): GrpcInferRequest {
  return new Decoder().decode(message);
}

class Decoder {
  readonly #walk = new FieldWalk();
  readonly #faults: Diagnostic[] = [];
  readonly #parts: Parts = {
    ...{ model: "", version: "", id: "" },
    ...{ inputs: [], outputs: [], raws: [], parameters: [] },
  };

  decode(message: Uint8Array): GrpcInferRequest {
    const parts = this.#parts;
    const parsed = this.#parse(message);
    return {
      ...{ model: parts.model, id: parts.id, raw: parts.raws.length > 0, parsed },
      version: parts.version === "" ? undefined : parts.version,
    };
  }

  #parse(message: Uint8Array): ParsedRequest {
    const faults = this.#faults;
    try {
      this.#readParts(message);
      const parameters = this.#readParameters(this.#parts.parameters, "parameters");
      const outputs = this.#readOutputs();
      const inputs = faults.length === 0 ? this.#readInputs() : new Map<string, Tensor>();
      if (faults.length > 0) return { faults };
      const id = this.#parts.id === "" ? undefined : this.#parts.id;
      return {
        request: { id, inputs, outputs: outputs.length > 0 ? outputs : undefined, parameters },
      };
    } catch (error) {
      if (error instanceof MalformedMessage)
        return { faults: [requestFault("request", error.message)] };
      // What is left is the protobuf reader's word for bytes that are no message, or a defect of ours.
      if (error instanceof SkipwayError || error instanceof TypeError) throw error;
      return { faults: [requestFault("request", "is no ModelInferRequest message")] };
    }
  }

  #readParts(message: Uint8Array): void {
    const parts = this.#parts;
    const lists = [parts.parameters, parts.inputs, parts.outputs, parts.raws];
    const counts = [0, 0, 0, 0];
    this.#walk.each(message, (from, field, wireType) => {
      const list = lists[field - 4];
      if (list !== undefined) {
        const bytes = bytesField(from, wireType);
        counts[field - 4] = (counts[field - 4] ?? 0) + 1;
        if (list.length < limits.requestTensorsMax) list.push(bytes);
      } else if (field === 1) parts.model = stringField(from, wireType);
      else if (field === 2) parts.version = stringField(from, wireType);
      else if (field === 3) parts.id = stringField(from, wireType);
      else return false;
      return true;
    });
    for (const [i, count] of counts.entries()) {
      if (count <= limits.requestTensorsMax) continue;
      this.#faults.push(tooManyTensors(LISTS[i] ?? "request", count));
    }
  }

  #readInputs(): Map<string, Tensor> {
    const inputs = new Map<string, Tensor>();
    const { raws, inputs: messages } = this.#parts;
    if (messages.length === 0) this.#fault("inputs", "there are none");
    if (raws.length > 0 && raws.length !== messages.length) {
      const text = `has ${raws.length} entries for ${messages.length} inputs; each input has one, in their order`;
      this.#fault("raw_input_contents", text);
      return inputs;
    }
    for (const [i, message] of messages.entries()) {
      const head = this.#readHead(message, i);
      if (head === undefined) continue;
      const where = called("input", head.name);
      if (inputs.has(head.name)) this.#fault(where, "is given twice");
      const value = this.#tensorOf(head, raws[i]);
      if (typeof value === "string") this.#fault(where, value);
      else inputs.set(head.name, value);
    }
    return inputs;
  }

  #readHead(message: Uint8Array, position: number): Head | undefined {
    let [name, datatype] = ["", ""];
    let shape: readonly number[] | undefined = [];
    const contents: Uint8Array[] = [];
    const parameters: Uint8Array[] = [];
    this.#walk.each(message, (from, field, wireType) => {
      if (field === 1) name = stringField(from, wireType);
      else if (field === 2) datatype = stringField(from, wireType);
      else if (field === 3) shape = withDims(shape, from, wireType);
      else if (field === 4) parameters.push(bytesField(from, wireType));
      else if (field === 5) contents.push(bytesField(from, wireType));
      else return false;
      return true;
    });
    if (name === "") {
      this.#fault(`inputs[${position}]`, "has no name");
      return undefined;
    }
    const where = called("input", name);
    const dtype = dtypeOf(datatype);
    if (dtype === undefined) {
      this.#fault(where, "has no datatype such as FP32, or one that is not known");
    }
    if (shape === undefined) {
      this.#fault(where, `has no shape of at most ${limits.rankMax} sizes from 0 up`);
    }
    this.#refuseSharedMemory(this.#readParameters(parameters, where), where);
    if (dtype === undefined || shape === undefined) return undefined;
    return { name, dtype, shape, contents };
  }

  #tensorOf({ dtype, shape, contents }: Head, raw: Uint8Array | undefined): Tensor | string {
    if (raw === undefined) {
      const fault = shapeFault(dtype, shape);
      if (fault !== undefined) return fault;
      const count = shape.reduce((a, b) => a * b, 1);
      const bytes = contentsToBytes(this.#walk, { dtype, count, messages: contents });
      return typeof bytes === "string" ? bytes : { dtype, shape, data: { kind: "bytes", bytes } };
    }
    if (contents.length > 0) return "has contents beside raw_input_contents: give one of both";
    return tensorFromBytes(dtype, shape, raw);
  }

  #readOutputs(): RequestedOutput[] {
    const found = new Map<string, RequestedOutput>();
    for (const [i, message] of this.#parts.outputs.entries()) {
      let name = "";
      const entries: Uint8Array[] = [];
      this.#walk.each(message, (from, field, wireType) => {
        if (field === 1) name = stringField(from, wireType);
        else if (field === 2) entries.push(bytesField(from, wireType));
        else return false;
        return true;
      });
      const where = name === "" ? `outputs[${i}]` : called("output", name);
      if (name === "") this.#fault(where, "has no name");
      else if (found.has(name)) this.#fault(where, "is asked for twice");
      const parameters = this.#readParameters(entries, where);
      this.#refuseSharedMemory(parameters, where);
      const classification = this.#classesOf(parameters.get("classification"), where);
      found.set(name, { name, ...(classification !== undefined && { classification }) });
    }
    return [...found.values()];
  }

  #classesOf(given: ParameterValue | undefined, where: string): number | undefined {
    if (given === undefined) return undefined;
    const classes = typeof given === "bigint" ? Number(given) : given;
    if (typeof classes === "number" && Number.isSafeInteger(classes) && classes > 0) return classes;
    this.#fault(where, "its classification is no number of classes from 1 up");
    return undefined;
  }

  #refuseSharedMemory(parameters: Parameters, where: string): void {
    if (!parameters.has("shared_memory_region")) return;
    this.#fault(where, "lies in shared memory, which is not offered; send it in the message");
  }

  /** Parameters from the entries of their map. One that has no value is left out. */
  #readParameters(entries: readonly Uint8Array[], where: string): Parameters {
    const parameters = new Map<string, ParameterValue>();
    for (const entry of entries) {
      let key = "";
      let value: ParameterValue | undefined;
      this.#walk.each(entry, (from, field, wireType) => {
        if (field === 1) key = stringField(from, wireType);
        else if (field === 2) value = this.#readParameter(bytesField(from, wireType)) ?? value;
        else return false;
        return true;
      });
      if (value !== undefined) parameters.set(key, value);
    }
    if (parameters.size > limits.requestTensorsMax) this.#fault(where, "has too many parameters");
    return parameters;
  }

  #readParameter(message: Uint8Array): ParameterValue | undefined {
    let value: ParameterValue | undefined;
    this.#walk.each(message, (from, field, wireType) => {
      const form = PARAMETER_FORMS[field];
      if (form === undefined) return false;
      expectForm(wireType, form);
      if (field === 1) value = from.bool();
      else if (field === 2) value = BigInt(from.int64());
      else if (field === 3) value = stringField(from, wireType);
      else if (field === 4) value = from.double();
      else value = BigInt(from.uint64());
      return true;
    });
    return value;
  }

  #fault(where: string, text: string): void {
    this.#faults.push(requestFault(where, text));
  }
}

/** The lists of a ModelInferRequest, in the order of their fields from 4 on. */
const LISTS = ["parameters", "inputs", "outputs", "raw_input_contents"];

const PARAMETER_FORMS: Readonly<Record<number, WireType>> = {
  1: WireType.Varint,
  2: WireType.Varint,
  3: WireType.LengthDelimited,
  4: WireType.Bit64,
  5: WireType.Varint,
};

/** An input without its elements. */
interface Head {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly contents: readonly Uint8Array[];
}

/** Bytes of the longest varint. */
const VARINT_MAX = 10;

/** A shape with one more field of sizes, which may be one or a packed list; undefined for what is no shape. */
function withDims(
  shape: readonly number[] | undefined,
  from: BinaryReader,
  wireType: WireType,
): number[] | undefined {
  if (wireType === WireType.Varint) return withDim(shape, from);
  const packed = bytesField(from, wireType);
  if (packed.byteLength > limits.rankMax * VARINT_MAX) return undefined;
  const list = new BinaryReader(packed);
  let longer = shape?.slice();
  while (list.pos < list.len) longer = withDim(longer, list);
  return longer;
}

function withDim(shape: readonly number[] | undefined, from: BinaryReader): number[] | undefined {
  const size = Number(from.int64());
  const fits = Number.isSafeInteger(size) && size >= 0 && (shape?.length ?? 0) < limits.rankMax;
  return fits && shape !== undefined ? [...shape, size] : undefined;
}
