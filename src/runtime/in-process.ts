// ONNX Runtime inside this process. A run blocks the calling thread (onnxruntime-node 1.30), so this
// engine is for training and evaluation, and for the inside of a model's own process.

import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import type { DType } from "../graph/dtype.ts";
import type { ValueType } from "../graph/graph.ts";
import { type Dim, UNKNOWN_DIM } from "../graph/shape.ts";
import { bytesOf, copyBytes, type Tensor } from "../graph/tensor.ts";
import { closedSession } from "./closed.ts";
import { checkFeeds, checkFetches } from "./feeds.ts";
import { processMemory } from "./memory-probe.ts";
import { loadOrt, type Ort } from "./ort.ts";
import type {
  MemoryReading,
  ModelSource,
  Runner,
  RunOptions,
  Session,
  SessionOptions,
  Tensors,
} from "./runner.ts";

type OrtSession = Awaited<ReturnType<Ort["InferenceSession"]["create"]>>;
type OrtTensor = InstanceType<Ort["Tensor"]>;
type OrtData = Exclude<OrtTensor["data"], string[]>;

/** Runs models in this process. */
export function inProcessRunner(): Runner {
  return { name: "in-process", load };
}

async function load(model: ModelSource, options: SessionOptions = {}): Promise<Session> {
  const ort = await loadOrt();
  options.signal?.throwIfAborted();
  const settings = {
    intraOpNumThreads: options.threads ?? 1,
    interOpNumThreads: 1,
    enableMemPattern: options.memoryPattern ?? true,
    // What is written down is for other machines too: "all" would lay weights out for this processor.
    graphOptimizationLevel:
      options.saveOptimized === undefined ? ("all" as const) : ("extended" as const),
    ...(options.saveOptimized && { optimizedModelFilePath: options.saveOptimized }),
    // Errors come back as exceptions; the same text on stderr would be noise.
    logSeverityLevel: 4 as const,
  };
  try {
    const session =
      "path" in model
        ? await ort.InferenceSession.create(model.path, settings)
        : await ort.InferenceSession.create(model.bytes, settings);
    return new InProcessSession(ort, session);
  } catch (cause) {
    throw refusedModel(model, cause);
  }
}

class InProcessSession implements Session {
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
  readonly #ort: Ort;
  readonly #session: OrtSession;
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(ort: Ort, session: OrtSession) {
    this.#ort = ort;
    this.#session = session;
    this.inputs = typesOf(session.inputMetadata);
    this.outputs = typesOf(session.outputMetadata);
  }

  async run(feeds: Tensors, options: RunOptions = {}): Promise<Tensors> {
    options.signal?.throwIfAborted();
    if (this.#closed) throw closedSession();
    const faults = [
      ...checkFeeds(this.inputs, feeds),
      ...checkFetches(this.outputs, options.outputs),
    ];
    if (faults.length > 0) throw SkipwayError.fromDiagnostics("input", faults);
    const turn = this.#last.then(() => this.#compute(feeds, options));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #compute(feeds: Tensors, options: RunOptions): Promise<Tensors> {
    options.signal?.throwIfAborted();
    // Without a prototype: an input may be called "__proto__".
    const given: Record<string, OrtTensor> = Object.create(null);
    for (const [name, value] of feeds) given[name] = toOrt(this.#ort, value);
    try {
      const wanted = options.outputs;
      const got =
        wanted === undefined
          ? await this.#session.run(given)
          : await this.#session.run(given, [...wanted]);
      return new Map(
        Object.entries(got).map(([name, value]) => [name, fromOrt(name, value as OrtTensor)]),
      );
    } catch (cause) {
      if (cause instanceof SkipwayError) throw cause;
      throw failedRun(cause);
    }
  }

  memory(): Promise<MemoryReading> {
    return Promise.resolve(processMemory());
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#last;
    await this.#session.release();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Typed arrays by element type; ORT hands float16 over as its bits. */
const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
} as const;

type RuntimeDType = keyof typeof ARRAYS;

function isRuntimeDType(dtype: string): dtype is RuntimeDType {
  return Object.hasOwn(ARRAYS, dtype);
}

/** Views the bytes as the runtime wants them; copies only where they are not aligned. */
function toOrt(ort: Ort, value: Tensor): OrtTensor {
  const { dtype, shape } = value;
  if (!isRuntimeDType(dtype)) throw unsupportedType(dtype);
  const ArrayType = ARRAYS[dtype];
  const size = ArrayType.BYTES_PER_ELEMENT;
  const given = value.data.bytes;
  const bytes = given.byteOffset % size === 0 ? given : copyBytes(given);
  const data = new ArrayType(
    bytes.buffer as ArrayBuffer,
    bytes.byteOffset,
    bytes.byteLength / size,
  );
  return new ort.Tensor(dtype, data as never, shape);
}

function fromOrt(name: string, value: OrtTensor): Tensor {
  const dtype: string = value.type;
  if (!isRuntimeDType(dtype) || Array.isArray(value.data)) {
    throw unsupportedType(`${dtype} (output "${name}")`);
  }
  const data: OrtData = value.data;
  return { dtype, shape: value.dims, data: { kind: "bytes", bytes: bytesOf(data) } };
}

function typesOf(metadata: OrtSession["inputMetadata"]): ReadonlyMap<string, ValueType> {
  return new Map(
    metadata.map((entry) => [
      entry.name,
      entry.isTensor
        ? { dtype: entry.type as DType, shape: entry.shape.map(dimOf) }
        : { dtype: "string" as const, shape: undefined },
    ]),
  );
}

function dimOf(dim: number | string): Dim {
  if (typeof dim === "number") return dim >= 0 ? dim : UNKNOWN_DIM;
  return dim === "" ? UNKNOWN_DIM : dim;
}

function refusedModel(model: ModelSource, cause: unknown): SkipwayError {
  const where = "path" in model ? model.path : (model.name ?? "model");
  // The one refusal of the binding itself: a type of an input or output that JavaScript has no array for.
  const byType = messageOf(cause).startsWith("Unsupported data type");
  const found = diagnostic({
    id: "runtime/refused",
    severity: "error",
    where,
    text: `ONNX Runtime refuses the model: ${withoutSourcePath(messageOf(cause)).trim()}`,
    fix: byType
      ? "Add a Cast to float32 or an integer type at the inputs and outputs of the model."
      : "Check that every op of the model exists in ONNX Runtime 1.30, and export it again.",
  });
  return new SkipwayError("input", `${where}: ${found.text}`, { cause, diagnostics: [found] });
}

function failedRun(cause: unknown): SkipwayError {
  const found = diagnostic({
    id: "runtime/failed",
    severity: "error",
    where: "run",
    text: `ONNX Runtime failed: ${withoutSourcePath(messageOf(cause))}`,
    fix: "If memory ran out, send a smaller batch; else the inputs do not fit the model's inner shapes.",
  });
  return new SkipwayError("environment", found.text, { cause, diagnostics: [found] });
}

/** The runtime's messages name files of the machine that it was built on: nobody's business here. */
function withoutSourcePath(text: string): string {
  return text.replaceAll(/\/onnxruntime_src\/\S+(?: onnxruntime::\S+\([^)]*\))? ?/g, "");
}

function unsupportedType(what: string): SkipwayError {
  const found: Diagnostic = diagnostic({
    id: "runtime/dtype",
    severity: "error",
    where: "run",
    text: `tensors of type ${what} cannot be passed to ONNX Runtime from JavaScript`,
    fix: "Add a Cast to float32 or an integer type at this end of the model.",
  });
  return SkipwayError.fromDiagnostics("input", [found]);
}
