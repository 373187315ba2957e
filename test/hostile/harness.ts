// A real server with tiny models and short patience, and clients that write bytes.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { HttpTimes } from "../../src/serve/http/node-server.ts";
import { ModelServer } from "../../src/serve/server.ts";
import { affineModel, slowModel } from "../models.ts";

/** A server that is attacked. */
export interface Target extends AsyncDisposable {
  readonly server: ModelServer;
  readonly port: number;
  readonly at: string;
}

/** A request that is right, for the model `affine`. */
export const GOOD: string = JSON.stringify({
  inputs: [{ name: "x", shape: [1, 3], datatype: "FP32", data: [1, 2, 3] }],
});
export const INFER = "/v2/models/affine/infer";

/** What a target has beside the model `affine`. */
export interface TargetOptions {
  readonly times?: Partial<HttpTimes>;
  readonly grpcPort?: number;
  /** Whether it serves the model `slow` too, whose first run alone takes a second and a half. */
  readonly slow?: boolean;
}

/** Starts a server. */
export async function startTarget(options: TargetOptions = {}): Promise<Target> {
  const { times = {}, grpcPort, slow = false } = options;
  const folder = await mkdtemp(join(tmpdir(), "skipway-hostile-"));
  const server = new ModelServer({ version: "1", times });
  const models = { affine: affineModel(), ...(slow && { slow: slowModel(60) }) };
  for (const [name, bytes] of Object.entries(models)) {
    const path = join(folder, name);
    await writeFile(path, bytes);
    await server.serve({ name, version: 1, path, digest: "" });
  }
  const at = await server.listen({ port: 0, ...(grpcPort !== undefined && { grpcPort }) });
  return {
    server,
    at,
    port: Number(new URL(at).port),
    async [Symbol.asyncDispose]() {
      await server.stop();
      await rm(folder, { recursive: true });
    },
  };
}

/** A connection that keeps what it is told. */
export class Wire {
  readonly socket: Socket;
  readonly closed: Promise<string>;
  #text = "";

  constructor(port: number) {
    this.socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    this.socket.on("error", () => undefined);
    this.socket.on("data", (data) => {
      this.#text += data.toString("latin1");
    });
    this.socket.once("end", () => this.socket.end());
    this.closed = new Promise((resolve) => this.socket.once("close", () => resolve(this.#text)));
  }

  get text(): string {
    return this.#text;
  }

  send(text: string | Uint8Array): this {
    this.socket.write(text);
    return this;
  }

  /** Waits until what came matches; ends with what came when the connection does. */
  async says(pattern: RegExp): Promise<string> {
    while (!pattern.test(this.#text) && !this.socket.closed) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return this.#text;
  }
}

/** Status, headers and body of the first answer in what came. */
export function answerIn(text: string): {
  status: number;
  headers: Map<string, string>;
  body: string;
} {
  const end = text.indexOf("\r\n\r\n");
  const [first = "", ...lines] = text.slice(0, end).split("\r\n");
  const headers = lines.map((line) => {
    const at = line.indexOf(":");
    return [line.slice(0, at).toLowerCase(), line.slice(at + 1).trim()] as const;
  });
  return {
    status: Number(first.split(" ")[1]),
    headers: new Map(headers),
    body: text.slice(end + 4),
  };
}

/** A request by its parts, `Host` and `Content-Length` as they should be. */
export function requestText(line: string, headers: readonly string[] = [], body = ""): string {
  const length = body === "" ? [] : [`Content-Length: ${Buffer.byteLength(body)}`];
  return `${[line, "Host: localhost", ...length, ...headers].join("\r\n")}\r\n\r\n${body}`;
}
