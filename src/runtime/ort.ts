// The only file that names onnxruntime-node. It is an optional dependency (its install script fetches
// from elsewhere), so it is loaded when the first session needs it, and its absence is explained.

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
