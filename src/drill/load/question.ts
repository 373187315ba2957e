// The question that a load test asks: made up from what the server says the model takes, or a file. Encoded
// once; the test sends the same bytes again and again.

import { diagnostic } from "../../base/diagnostic.ts";
import { SkipwayError } from "../../base/errors.ts";
import { limits } from "../../base/limits.ts";
import { Random } from "../../base/random.ts";
import type { TensorMetadata } from "../../wire/metadata.ts";

/** The body of a request, with the headers that go with it. */
export interface Question {
  readonly body: Uint8Array;
  readonly headers: Readonly<Record<string, string>>;
}

/** What stands for sizes that the model leaves open. */
export interface OpenSizes {
  /** Of the first axis. */
  readonly rows: number;
  /** Of every other axis. */
  readonly others: number;
}

/** Bytes of an element by the protocol's names, and how a random one is written. */
const WRITERS: Readonly<
  Record<string, { bytes: number; write(view: DataView, at: number, random: Random): void }>
> = {
  BOOL: { bytes: 1, write: (view, at, random) => view.setUint8(at, random.integer(2)) },
  UINT8: { bytes: 1, write: (view, at, random) => view.setUint8(at, random.integer(256)) },
  INT8: { bytes: 1, write: (view, at, random) => view.setInt8(at, random.integer(2)) },
  UINT16: { bytes: 2, write: (view, at, random) => view.setUint16(at, random.integer(2), true) },
  INT16: { bytes: 2, write: (view, at, random) => view.setInt16(at, random.integer(2), true) },
  UINT32: { bytes: 4, write: (view, at, random) => view.setUint32(at, random.integer(2), true) },
  // Integers are ids or masks as a rule: 0 and 1 are valid as both.
  INT32: { bytes: 4, write: (view, at, random) => view.setInt32(at, random.integer(2), true) },
  INT64: {
    bytes: 8,
    write: (view, at, random) => view.setBigInt64(at, BigInt(random.integer(2)), true),
  },
  UINT64: {
    bytes: 8,
    write: (view, at, random) => view.setBigUint64(at, BigInt(random.integer(2)), true),
  },
  // Half precision from 0.5 up to 1: the exponent stays, the fraction is drawn.
  FP16: {
    bytes: 2,
    write: (view, at, random) => view.setUint16(at, 0x3800 | random.integer(1024), true),
  },
  BF16: {
    bytes: 2,
    write: (view, at, random) => view.setUint16(at, 0x3f00 | random.integer(128), true),
  },
  FP32: { bytes: 4, write: (view, at, random) => view.setFloat32(at, random.uniform(), true) },
  FP64: { bytes: 8, write: (view, at, random) => view.setFloat64(at, random.uniform(), true) },
};

/**
 * A question with random elements, as binary tensors or as JSON.
 *
 * @throws SkipwayError `input` for a datatype that cannot be made up, or more bytes than a request may have.
 */
export function madeUpQuestion(
  inputs: readonly TensorMetadata[],
  options: { readonly sizes: OpenSizes; readonly form: "binary" | "json"; readonly seed: number },
): Question {
  const random = new Random(options.seed);
  const tensors = inputs.map((input) => {
    const shape = input.shape.map((dim, axis) =>
      dim >= 0 ? dim : axis === 0 ? options.sizes.rows : options.sizes.others,
    );
    return { ...input, shape, data: randomElements(input, shape, random) };
  });
  if (options.form === "binary") return binaryQuestion(tensors);
  const document = {
    inputs: tensors.map(({ name, datatype, shape, data }) => ({
      name,
      datatype,
      shape,
      data: jsonElements(name, datatype, data),
    })),
  };
  return {
    body: Buffer.from(JSON.stringify(document)),
    headers: { "content-type": "application/json" },
  };
}

interface MadeUp extends TensorMetadata {
  readonly data: Uint8Array;
}

/** Binary tensor data extension of the Open Inference Protocol. */
function binaryQuestion(tensors: readonly MadeUp[]): Question {
  const document = {
    inputs: tensors.map(({ name, datatype, shape, data }) => ({
      name,
      datatype,
      shape,
      parameters: { binary_data_size: data.byteLength },
    })),
    parameters: { binary_data_output: true },
  };
  const head = Buffer.from(JSON.stringify(document));
  return {
    body: Buffer.concat([head, ...tensors.map(({ data }) => data)]),
    headers: {
      "content-type": "application/octet-stream",
      "inference-header-content-length": String(head.byteLength),
    },
  };
}

function randomElements(
  { name, datatype }: TensorMetadata,
  shape: readonly number[],
  random: Random,
): Uint8Array {
  const count = shape.reduce((a, b) => a * b, 1);
  const writer = WRITERS[datatype];
  if (writer === undefined) {
    throw refused(name, `elements of type ${datatype} cannot be made up`);
  }
  if (count * writer.bytes > limits.requestBytesMax) {
    throw refused(name, `its shape [${shape.join(",")}] has more bytes than a request may carry`);
  }
  const bytes = new Uint8Array(count * writer.bytes);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < count; i++) writer.write(view, i * writer.bytes, random);
  return bytes;
}

function jsonElements(name: string, datatype: string, data: Uint8Array): unknown[] {
  const { buffer } = data;
  switch (datatype) {
    case "FP32":
      return Array.from(new Float32Array(buffer as ArrayBuffer));
    case "FP64":
      return Array.from(new Float64Array(buffer as ArrayBuffer));
    case "INT64":
    case "UINT64":
      return Array.from(new BigInt64Array(buffer as ArrayBuffer), Number);
    case "INT32":
    case "UINT32":
      return Array.from(new Int32Array(buffer as ArrayBuffer));
    case "INT16":
    case "UINT16":
      return Array.from(new Int16Array(buffer as ArrayBuffer));
    case "BOOL":
      return Array.from(data, (byte) => byte !== 0);
    case "INT8":
    case "UINT8":
      return Array.from(data);
    default:
      throw refused(name, `${datatype} elements cannot be sent as JSON`);
  }
}

function refused(name: string, text: string): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "load/input",
      severity: "error",
      where: `input "${name}"`,
      text,
      fix: "Give the body of a request with --body FILE, or other sizes with --rows and --size.",
    }),
  ]);
}
