// The only file that names onnxruntime-node. It is an optional dependency (its install script fetches
// from elsewhere), so it is loaded when the first session needs it, and its absence is explained.

import { createRequire } from "node:module";
import { diagnostic } from "../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";

/** The runtime's module. */
export type Ort = typeof import("onnxruntime-node");

let loading: Promise<Ort> | undefined;

/**
 * The runtime.
 *
 * @throws SkipwayError `environment` if it is not installed or does not load on this machine.
 */
export function loadOrt(): Promise<Ort> {
  withoutTelemetry();
  loading ??= import("onnxruntime-node").catch((cause: unknown) => {
    loading = undefined;
    throw new SkipwayError("environment", `ONNX Runtime does not load: ${messageOf(cause)}`, {
      cause,
      diagnostics: [
        diagnostic({
          id: "runtime/missing",
          severity: "error",
          where: "onnxruntime-node",
          text: `ONNX Runtime does not load: ${firstLine(messageOf(cause))}`,
          notes: ["It needs glibc 2.28 or later, macOS on arm64, or Windows."],
          fix: "Run: npm install --ignore-scripts onnxruntime-node@1.30.0",
        }),
      ],
    });
  });
  return loading;
}

/**
 * The runtime (seen in 1.30 on Linux) has Microsoft's telemetry in it: a number for the machine and a store of events to
 * send below ~/.cache/Microsoft, a session and a log of each process among the temporary files. It looks at this
 * variable when it is loaded.
 */
function withoutTelemetry(): void {
  process.env["ORT_DISABLE_TELEMETRY"] = "1";
}

/** A tensor at the binding: what an `ort.Tensor` is made of. */
export interface BindingTensor {
  readonly type: string;
  readonly data: ArrayBufferView | string[];
  readonly dims: readonly number[];
  readonly location: "cpu";
}

/** An input or output of a model; `type` is a code of ONNX, a size of -1 has a symbol or none. */
export interface BindingMetadata {
  readonly name: string;
  readonly isTensor: boolean;
  readonly symbolicDimensions: readonly string[];
  readonly shape: readonly number[];
  readonly type: number;
}

/** A session of the runtime whose calls compute at once, on the calling thread. */
export interface BindingSession {
  readonly inputMetadata: readonly BindingMetadata[];
  readonly outputMetadata: readonly BindingMetadata[];
  loadModel(path: string, options: object): void;
  loadModel(bytes: ArrayBufferLike, offset: number, length: number, options: object): void;
  run(
    feeds: Readonly<Record<string, BindingTensor>>,
    fetches: Readonly<Record<string, null>>,
    options: object,
  ): Record<string, BindingTensor>;
  dispose(): void;
}

/**
 * Makes empty sessions. The package's own `InferenceSession` wraps each run in a promise and a turn of the event
 * loop, and refuses bfloat16 at the ends of a model; what it wraps is the same library. The version is pinned,
 * and the contract tests run on it.
 *
 * @throws SkipwayError `environment` as `loadOrt`.
 */
export async function loadBinding(): Promise<new () => BindingSession> {
  await loadOrt();
  const { binding, initOrt } = await import("onnxruntime-node/dist/binding.js");
  initOrt();
  // Their types are of tensor classes; at run time plain objects with the same fields are taken.
  return binding.InferenceSession as unknown as new () => BindingSession;
}

/** What the binding makes of a result. The package's own class has checks and methods that nobody here asks for. */
class ResultTensor implements BindingTensor {
  readonly type: string;
  readonly data: BindingTensor["data"];
  readonly dims: readonly number[];
  readonly location = "cpu";

  constructor(type: string, data: BindingTensor["data"], dims: readonly number[]) {
    this.type = type;
    this.data = data;
    this.dims = dims;
  }
}

/** The native module: what `dist/binding.js` of the package loads and sets up. */
interface NativeModule {
  readonly InferenceSession: new () => BindingSession;
  initOrtOnce(logLevel: number, tensor: typeof ResultTensor, isMainThread: boolean): void;
}

/** 4: fatal; errors come back as exceptions. */
const LOG_LEVEL = 4;

/**
 * As `loadBinding`, without the package around it, which is most of the time that it takes to load. For a process
 * that nobody else shares: the class of results is set once for all of it.
 *
 * @throws SkipwayError `environment` as `loadOrt`.
 */
export async function loadBindingAlone(): Promise<new () => BindingSession> {
  const { platform, arch } = process;
  withoutTelemetry();
  try {
    const file = `onnxruntime-node/bin/napi-v6/${platform}/${arch}/onnxruntime_binding.node`;
    const native = createRequire(import.meta.url)(file) as NativeModule;
    native.initOrtOnce(LOG_LEVEL, ResultTensor, true);
    return native.InferenceSession;
  } catch {
    // Not where this version has it, or not for this machine: the package says what is wrong.
    return loadBinding();
  }
}

/** What the installed runtime can do. */
export interface RuntimeInfo {
  readonly version: string;
  readonly providers: readonly string[];
}

/** Version and execution providers of the installed runtime. */
export async function runtimeInfo(): Promise<RuntimeInfo> {
  const ort = await loadOrt();
  const providers = ort.listSupportedBackends().map((backend) => backend.name);
  return { version: ort.env.versions.node ?? ort.env.versions.common, providers };
}

function firstLine(text: string): string {
  return text.split("\n", 1)[0] ?? text;
}
