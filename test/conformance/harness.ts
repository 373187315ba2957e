// One server with the standard models for all checks of the protocol, and what a check is. A check has an id
// (of the requirement it belongs to, and a letter), so that a table of answers can be published.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GraphBuilder } from "../../src/graph/build.ts";
import type { DType } from "../../src/graph/dtype.ts";
import { modelOf } from "../../src/onnx/onnx-model.ts";
import { encodeModel } from "../../src/onnx/write.ts";
import { ModelServer } from "../../src/serve/server.ts";
import { affineModel, halfModel, slowModel } from "../models.ts";

/** One requirement, asked from outside: what is sent and what must come back. */
export interface Check<Request, Expectation> {
  readonly id: string;
  readonly title: string;
  readonly request: Request;
  readonly expect: Expectation;
}

/** Element types of the model `types` by the protocol's names: input `in_FP32` gives output `out_FP32`. */
export const TYPES: Readonly<Record<string, DType>> = {
  BOOL: "bool",
  UINT8: "uint8",
  UINT16: "uint16",
  UINT32: "uint32",
  UINT64: "uint64",
  INT8: "int8",
  INT16: "int16",
  INT32: "int32",
  INT64: "int64",
  FP16: "float16",
  FP32: "float32",
  FP64: "float64",
  BF16: "bfloat16",
  BYTES: "string",
};

/** A running server and its addresses. */
export interface ConformanceServer {
  readonly server: ModelServer;
  /** `http://127.0.0.1:PORT`. */
  readonly at: string;
  /** `127.0.0.1:PORT`. */
  readonly grpcAt: string;
  stop(): Promise<void>;
}

/**
 * Starts a server with the standard models:
 * `affine` in versions 1 and 2 (`x` FP32 [N,3] → `y` = 2x+1 and `z` = -x), `types` (see `TYPES`; each [N] of its
 * own N, as it came), `half` (`x` FP32 [N,3] → `y` and, in FP16, `h`), `slow` (`x` FP32 [N] → `y` after about
 * a second).
 */
export async function startConformance(): Promise<ConformanceServer> {
  const folder = await mkdtemp(join(tmpdir(), "skipway-conformance-"));
  const server = new ModelServer({ version: "1.2.3" });
  const serve = async (name: string, version: number, bytes: Uint8Array): Promise<void> => {
    const path = join(folder, `${name}-${version}.onnx`);
    await writeFile(path, bytes);
    await server.serve({ name, version, path, digest: `sha256:${name}${version}` });
  };
  try {
    await Promise.all([
      serve("affine", 1, affineModel()),
      serve("affine", 2, affineModel()),
      serve("types", 1, typesModel()),
      serve("half", 1, halfModel()),
      serve("slow", 1, slowModel(40)),
    ]);
    const at = await server.listen({ port: 0, grpcPort: 0 });
    return {
      server,
      at,
      grpcAt: `127.0.0.1:${server.grpcPort}`,
      stop: async () => {
        await server.stop();
        await rm(folder, { recursive: true });
      },
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** Every type that the protocol and the runtime have, from an input to an output of its own. */
function typesModel(): Uint8Array {
  const b = new GraphBuilder();
  for (const [name, dtype] of Object.entries(TYPES)) b.input(`in_${name}`, dtype, [`n_${name}`]);
  for (const [name, dtype] of Object.entries(TYPES)) {
    b.emit("Identity", [`in_${name}`], { outputs: [`out_${name}`] });
    b.output({ name: `out_${name}`, dtype, shape: [`n_${name}`] });
  }
  return encodeModel(modelOf(b.finish("types", new Map([["", 20]]))));
}
