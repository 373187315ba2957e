// A model in the runtime, in this process and on this thread: every call computes before it returns. Both engines
// stand on it, the one in this process and the inside of a model's own.

import { dirname, resolve } from "node:path";
import { present } from "../base/assert.ts";
import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import type { ValueType } from "../graph/graph.ts";
import { type BindingSession, type BindingTensor, loadBinding } from "./ort.ts";
import { fromBinding, toBinding, typesOf } from "./ort-tensors.ts";
import type { ModelSource, SessionOptions, Tensors } from "./runner.ts";

/** TensorProto.DataType.BFLOAT16. */
const BFLOAT16 = 16;

/** A loaded model. Nothing is checked before the runtime sees it: callers check (`feeds.ts`). */
export class OrtSession {
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
  readonly #session: BindingSession;
  readonly #all: Readonly<Record<string, null>>;

  private constructor(
    session: BindingSession,
    inputs: ReadonlyMap<string, ValueType>,
    outputs: ReadonlyMap<string, ValueType>,
  ) {
    this.#session = session;
    this.inputs = inputs;
    this.outputs = outputs;
    this.#all = fetchesOf(outputs.keys());
  }

  /**
   * Loads a model.
   *
   * @param load How the runtime is loaded, where this process has a way of its own.
   * @throws SkipwayError `input` when the runtime refuses it; `environment` when there is no runtime.
   */
  static async open(
    model: ModelSource,
    options: SessionOptions = {},
    load: typeof loadBinding = loadBinding,
  ): Promise<OrtSession> {
    const Binding = await load();
    options.signal?.throwIfAborted();
    try {
      const session = opened(new Binding(), model, settingsOf(options));
      const inputs = session.inputMetadata;
      const outputs = session.outputMetadata;
      const types = [typesOf(inputs), typesOf(outputs)] as const;
      if (![...inputs, ...outputs].some(({ isTensor, type }) => isTensor && type === BFLOAT16)) {
        return new OrtSession(session, ...types);
      }
      session.dispose();
      const { withFloat32Ends } = await import("./edge-casts.ts");
      const bytes = await withFloat32Ends(model);
      const settings = settingsOf(options, "path" in model ? model.path : undefined);
      return new OrtSession(opened(new Binding(), { bytes }, settings), ...types);
    } catch (cause) {
      throw cause instanceof SkipwayError ? cause : refusedModel(model, cause);
    }
  }

  /**
   * Computes outputs from inputs.
   *
   * @throws SkipwayError `input` with `runtime/bad-index` for an index that is out of bounds; `environment` when the runtime fails; id `runtime/out-of-memory` where it had no memory.
   */
  run(feeds: Tensors, wanted?: readonly string[]): Tensors {
    // Without a prototype: an input may be called "__proto__".
    const given: Record<string, BindingTensor> = Object.create(null);
    for (const [name, value] of feeds) given[name] = toBinding(value);
    const fetches = wanted === undefined ? this.#all : fetchesOf(wanted);
    const got = this.#computed(given, fetches);
    const tensors = new Map<string, ReturnType<typeof fromBinding>>();
    for (const [name, value] of Object.entries(got)) {
      const { dtype } = present(this.outputs.get(name), "the runtime gives what was asked for");
      tensors.set(name, fromBinding(name, value, dtype));
    }
    return tensors;
  }

  #computed(
    given: Readonly<Record<string, BindingTensor>>,
    fetches: Readonly<Record<string, null>>,
  ): Record<string, BindingTensor> {
    try {
      return this.#session.run(given, fetches, {});
    } catch (cause) {
      throw failedRun(cause);
    }
  }

  close(): void {
    this.#session.dispose();
  }
}

function fetchesOf(names: Iterable<string>): Readonly<Record<string, null>> {
  const fetches: Record<string, null> = Object.create(null);
  for (const name of names) fetches[name] = null;
  return fetches;
}

function opened(session: BindingSession, model: ModelSource, settings: object): BindingSession {
  if ("path" in model) session.loadModel(model.path, settings);
  else {
    const { buffer, byteOffset, byteLength } = model.bytes;
    session.loadModel(buffer, byteOffset, byteLength, settings);
  }
  return session;
}

/** `beside` is the file beside which bytes find their external data. */
function settingsOf(options: SessionOptions, beside?: string): object {
  const { arena = true, spinning = true, prepacking = true, denormals = true } = options;
  return {
    intraOpNumThreads: options.threads ?? 1,
    interOpNumThreads: 1,
    enableMemPattern: options.memoryPattern ?? true,
    enableCpuMemArena: arena,
    // What is written down is for other machines too: "all" would lay weights out for this processor.
    graphOptimizationLevel: options.saveOptimized === undefined ? "all" : "extended",
    ...(options.saveOptimized && { optimizedModelFilePath: options.saveOptimized }),
    // Errors come back as exceptions; the same text on stderr would be noise.
    logSeverityLevel: 4,
    extra: {
      session: {
        ...(spinning ? {} : { intra_op: { allow_spinning: "0" } }),
        ...(prepacking ? {} : { disable_prepacking: "1" }),
        ...(denormals ? {} : { set_denormal_as_zero: "1" }),
        ...(beside && { model_external_initializers_file_folder_path: dirname(resolve(beside)) }),
      },
    },
  };
}

function refusedModel(model: ModelSource, cause: unknown): SkipwayError {
  const where = "path" in model ? model.path : (model.name ?? "model");
  const found = diagnostic({
    id: "runtime/refused",
    severity: "error",
    where,
    text: `ONNX Runtime refuses the model: ${withoutSourcePath(messageOf(cause)).trim()}`,
    fix: "Check that every op of the model exists in ONNX Runtime 1.30, and export it again.",
  });
  return new SkipwayError("input", `${where}: ${found.text}`, { cause, diagnostics: [found] });
}

/** What the runtime, its allocators and the C++ library say where there is no memory. */
const NO_MEMORY = /failed to allocate memory|bad_alloc|out of memory|Available memory of/i;

/**
 * What Gather, GatherElements, GatherND, ScatterElements and ScatterND say of an index that is none (ONNX Runtime 1.30).
 * A model whose own indices were wrong would have failed on its first run; all other failures stay the model's.
 */
const BAD_INDEX =
  /indices element out of data bounds|Out of range value in index tensor|invalid ind(?:ex|ice) found/i;

function failedRun(cause: unknown): SkipwayError {
  const text = withoutSourcePath(messageOf(cause));
  if (BAD_INDEX.test(text)) {
    const found = diagnostic({
      id: "runtime/bad-index",
      severity: "error",
      where: "run",
      text: `an index in the inputs is out of bounds: ${text}`,
      fix: "Send indices that lie within what the model looks up.",
    });
    return new SkipwayError("input", found.text, { cause, diagnostics: [found] });
  }
  const noMemory = NO_MEMORY.test(text);
  const found: Diagnostic = diagnostic({
    id: noMemory ? "runtime/out-of-memory" : "runtime/failed",
    severity: "error",
    where: "run",
    text: `ONNX Runtime failed: ${text}`,
    fix: noMemory
      ? "Send a smaller batch, or give the machine more memory."
      : "The inputs do not fit the model's inner shapes; send other sizes.",
  });
  return new SkipwayError("environment", found.text, { cause, diagnostics: [found] });
}

/** The runtime's messages name files of the machine that it was built on, and its functions: nobody's business here. */
function withoutSourcePath(text: string): string {
  return text
    .replaceAll(/\/onnxruntime_src\/\S+(?: onnxruntime::\S+\([^)]*\))? ?/g, "")
    .replaceAll(/(?:virtual )?[\w:*&]+ onnxruntime::[^()]*\([^)]*\)(?: const)? ?/g, "")
    .replaceAll(/\[ONNXRuntimeError\] : \d+ : \w+ : |\b\w+\.(?:cc|h):\d+ (?:\w+ )?/g, "");
}
