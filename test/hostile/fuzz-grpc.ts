// Calls over gRPC that are nearly right, many of them, against a real server: each must get a status within a second,
// with no defect of the server, and a right call beside them must stay right.

import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";
import { gzipSync } from "node:zlib";
import { create, type DescMessage, toBinary } from "@bufbuild/protobuf";
import type { Random } from "../../src/base/random.ts";
import {
  ModelInferRequestSchema,
  ModelMetadataRequestSchema,
  RepositoryIndexRequestSchema,
} from "../../src/wire/proto/oip_pb.js";
import {
  AGAIN_MAX,
  AT_ONCE,
  CHECKED,
  FAILURES_SHOWN,
  type FuzzReport,
  HANG_MS,
  mutatedBytes,
  ownMs,
  pauseBefore,
} from "./fuzz.ts";

const SERVICE = "/inference.GRPCInferenceService/";
/** INTERNAL in our words, and UNKNOWN: defects. */
const DEFECT = /^(?:13 internal error|2 )/;

/** A call: its method, its headers and the bytes on its stream. */
interface Call {
  readonly method: string;
  readonly encoding: string | undefined;
  readonly bytes: Buffer;
}

function framed(message: Uint8Array, compressed = false): Buffer {
  const head = Buffer.alloc(5);
  head[0] = compressed ? 1 : 0;
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function message<Desc extends DescMessage>(schema: Desc, fields: object): Buffer {
  return Buffer.from(toBinary(schema, Object.assign(create(schema), fields)));
}

/** Right calls: typed contents, raw contents, compressed, as a stream, and those that ask about the server. */
function seeds(): Call[] {
  const x = { name: "x", datatype: "FP32", shape: [1n, 3n] };
  const typed = message(
    ModelInferRequestSchema,
    create(ModelInferRequestSchema, {
      modelName: "affine",
      inputs: [{ ...x, contents: { fp32Contents: [1, 2, 3] } }],
    }),
  );
  const raw = message(
    ModelInferRequestSchema,
    create(ModelInferRequestSchema, {
      modelName: "affine",
      inputs: [x],
      rawInputContents: [Buffer.from(new Float32Array([1, 2, 3]).buffer)],
      parameters: { timeout: { parameterChoice: { case: "int64Param", value: 1_000_000n } } },
    }),
  );
  const named = message(ModelMetadataRequestSchema, { name: "affine" });
  const plain = (method: string, bytes: Buffer): Call => ({ method, encoding: undefined, bytes });
  return [
    plain("ModelInfer", framed(typed)),
    plain("ModelInfer", framed(raw)),
    plain("ModelStreamInfer", Buffer.concat([framed(typed), framed(raw)])),
    { method: "ModelInfer", encoding: "gzip", bytes: framed(gzipSync(raw), true) },
    plain("ModelMetadata", framed(named)),
    plain("ModelConfig", framed(named)),
    plain("ModelStatistics", framed(named)),
    plain("RepositoryIndex", framed(message(RepositoryIndexRequestSchema, { ready: true }))),
  ];
}

/** What readers of protobuf trip over: the longest number, a length beyond all, groups, deep messages. */
const PIECES: readonly Buffer[] = [
  Buffer.alloc(10, 255),
  Buffer.of(255, 255, 255, 255, 15),
  Buffer.of(0x0b, 0x0c),
  Buffer.of(0x2a, 4, 0x2a, 2, 0x2a, 0),
  Buffer.alloc(5),
];

/** Half of them anywhere, half in the message alone, whose length is right. */
function mutated(call: Call, random: Random, other: Call): Call {
  const change = (bytes: Buffer, from: Buffer): Buffer => {
    if (random.integer(4) > 0) return mutatedBytes(bytes, random, from);
    const at = random.integer(bytes.length + 1);
    const piece = PIECES[random.integer(PIECES.length)] ?? Buffer.alloc(0);
    return Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at)]);
  };
  const bytes =
    random.integer(2) === 0
      ? change(call.bytes, other.bytes)
      : framed(change(call.bytes.subarray(5), other.bytes.subarray(5)), call.bytes[0] === 1);
  const encodings = [call.encoding, call.encoding, call.encoding, "gzip", "deflate", "snappy"];
  return { ...call, bytes, encoding: encodings[random.integer(encodings.length)] };
}

/** A connection that is made again when it was ended. */
class Connection {
  readonly #at: string;
  #session: ClientHttp2Session | undefined;

  constructor(port: number) {
    this.#at = `http://127.0.0.1:${port}`;
  }

  close(): void {
    this.#session?.destroy();
  }

  /** The status with its text, or `none` where the call was cut off. */
  ask({ method, encoding, bytes }: Call): Promise<{ status: string; answer: Buffer }> {
    if (this.#session === undefined || this.#session.closed || this.#session.destroyed) {
      this.#session = connect(this.#at).on("error", () => undefined);
    }
    const stream: ClientHttp2Stream = this.#session.request({
      ...{ ":method": "POST", ":path": SERVICE + method, te: "trailers" },
      ...{ "content-type": "application/grpc", ...(encoding && { "grpc-encoding": encoding }) },
    });
    let status = "none";
    const parts: Buffer[] = [];
    const read = (headers: Readonly<Record<string, unknown>>): void => {
      const code = headers["grpc-status"];
      if (code !== undefined) status = `${code} ${headers["grpc-message"] ?? ""}`;
    };
    stream.on("response", read);
    stream.on("trailers", read);
    stream.on("data", (part: Buffer) => parts.push(part));
    stream.on("error", () => undefined);
    stream.end(bytes);
    return new Promise((resolve) => {
      stream.once("close", () => resolve({ status, answer: Buffer.concat(parts) }));
    });
  }
}

/** Sends mutated calls, several at a time. */
export async function fuzzGrpc(port: number, count: number, random: Random): Promise<FuzzReport> {
  const right = seeds();
  const statuses: Record<string, number> = {};
  const failures: string[] = [];
  let slowestMs = 0;
  let next = 0;
  const pick = (): Call => right[random.integer(right.length)] ?? present(right);
  const one = async (connection: Connection): Promise<void> => {
    const call = mutated(pick(), random, pick());
    let { status, ms } = await timed(connection, call);
    // On a machine that does other work too, a pause is no hang: what hangs does so each time.
    for (let again = 0; again < AGAIN_MAX && ms > HANG_MS; again++) {
      await pauseBefore(again);
      ({ status, ms } = await timed(connection, call));
    }
    slowestMs = Math.max(slowestMs, ms);
    const code = status.split(" ")[0] ?? "";
    statuses[code] = (statuses[code] ?? 0) + 1;
    if (ms <= HANG_MS && !DEFECT.test(decodeURIComponent(status))) return;
    const shown = `${call.method} ${call.encoding ?? ""} ${call.bytes.toString("hex").slice(0, 1000)}`;
    failures.push(`${status} after ${Math.round(ms)} ms: ${shown}`);
  };
  const worker = async (): Promise<void> => {
    const connection = new Connection(port);
    while (next < count && failures.length < FAILURES_SHOWN) {
      next++;
      if (next % CHECKED === 0) await staysRight(connection, present(right), failures);
      await one(connection);
    }
    connection.close();
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return { count: next, statuses, slowestMs, failures };
}

function present(calls: readonly Call[]): Call {
  const [first] = calls;
  if (first === undefined) throw new Error("there are right calls");
  return first;
}

async function timed(connection: Connection, call: Call): Promise<{ status: string; ms: number }> {
  const from = ownMs();
  const { status } = await connection.ask(call);
  return { status, ms: ownMs() - from };
}

/** y = 2 x + 1, as bytes in the answer. */
const RIGHT = Buffer.from(new Float32Array([3, 5, 7]).buffer);

async function staysRight(connection: Connection, call: Call, failures: string[]): Promise<void> {
  const { status, answer } = await connection.ask(call);
  if (/^0/.test(status) && answer.includes(RIGHT)) return;
  failures.push(`a right call was answered with ${status} ${answer.toString("hex").slice(0, 300)}`);
}
