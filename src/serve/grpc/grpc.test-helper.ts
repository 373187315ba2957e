import { create, toBinary } from "@bufbuild/protobuf";
import type { ClientDuplexStream } from "@grpc/grpc-js";
import { afterEach } from "vitest";
import { GrpcClient } from "../../../test/conformance/grpc.ts";
import { ModelInferRequestSchema } from "../../wire/proto/oip_pb.js";
import type { Parameters } from "../../wire/request.ts";
import { type FailureReason, RequestError } from "../errors.ts";
import type { InferenceCall, ServedVersion } from "../inference.ts";
import { type GrpcServer, type GrpcServerOptions, type GrpcSource, startGrpc } from "./server.ts";

export class FakeSource implements GrpcSource {
  readonly version = "1.2.3";
  readonly asked: InferenceCall[] = [];
  readonly failures: FailureReason[] = [];
  readonly changes: [string, string, Parameters][] = [];
  isReady = true;
  respond: (call: InferenceCall) => Promise<void> = async () => undefined;
  readonly #listeners = new Set<() => void>();

  readonly model: ServedVersion = {
    name: "m",
    version: 7,
    digest: "sha256:0",
    ready: true,
    inputs: new Map([["x", { dtype: "float32", shape: ["N"] }]]),
    outputs: new Map([["x", { dtype: "float32", shape: ["N"] }]]),
    infer: async (call) => {
      this.asked.push(call);
      await this.respond(call);
      const phases = { queueMs: 0, computeMs: 0 };
      return { outputs: call.inputs, version: 7, batch: 1, batchRows: 1, batchRequests: 1, phases };
    },
    countFailure: (reason) => this.failures.push(reason),
  };

  readonly repository: NonNullable<GrpcSource["repository"]> = {
    index: () => [
      { name: "m", version: "7", state: "READY", reason: "" } as const,
      { name: "n", version: "", state: "UNAVAILABLE", reason: "unloaded" } as const,
    ],
    load: async (name: string, parameters: Parameters): Promise<void> => {
      if (name === "none") throw new RequestError(404, "invalid", "no such model");
      this.changes.push(["load", name, parameters]);
    },
    unload: async (name: string, parameters: Parameters): Promise<void> => {
      this.changes.push(["unload", name, parameters]);
    },
  };

  find(name: string): ServedVersion | undefined {
    return name === "m" ? this.model : undefined;
  }
  versionsOf(): readonly number[] {
    return [7];
  }
  all(): readonly ServedVersion[] {
    return [this.model];
  }
  ready(): boolean {
    return this.isReady;
  }
  onState(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  setReady(ready: boolean): void {
    this.isReady = ready;
    for (const listener of this.#listeners) listener();
  }
}

export const running: { stop(): Promise<void> | void }[] = [];
afterEach(async () => {
  for (const one of running.splice(0).reverse()) await one.stop();
});

export async function start(
  options: Partial<GrpcServerOptions> = {},
): Promise<{ source: FakeSource; server: GrpcServer; client: GrpcClient }> {
  const source = new FakeSource();
  const server = await startGrpc(source, { port: 0, ...options });
  running.push({ stop: () => server.stop(0) });
  return { source, server, client: clientOf(server) };
}

export function clientOf(server: GrpcServer, options = {}): GrpcClient {
  const client = new GrpcClient(`127.0.0.1:${server.port}`, options);
  running.push({ stop: () => client.close() });
  return client;
}

export const values: number[] = [1, 2];

type Infer = {
  modelName: string;
  id: string;
  inputs: {
    name: string;
    datatype: string;
    shape: bigint[];
    contents: { fp32Contents: number[] };
  }[];
};

export const infer: Infer = {
  modelName: "m",
  id: "5",
  inputs: [{ name: "x", datatype: "FP32", shape: [2n], contents: { fp32Contents: values } }],
};
export const inferBytes = (fields: object = {}): Buffer =>
  Buffer.from(
    toBinary(ModelInferRequestSchema, create(ModelInferRequestSchema, { ...infer, ...fields })),
  );
export const INFER: { method: string; message: Infer } = { method: "ModelInfer", message: infer };

/** A model that does not answer until it is let. */
export function held(source: FakeSource): () => void {
  let letGo: () => void = () => undefined;
  const until = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  source.respond = () => until;
  return letGo;
}

/** The status with which a stream ends. */
export function endOf(stream: ClientDuplexStream<Buffer, Buffer>): Promise<number> {
  stream.on("error", () => undefined);
  stream.on("data", () => undefined);
  return new Promise((resolve) => {
    stream.on("status", ({ code }) => resolve(code));
  });
}

export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}
