// A client of the protocol over gRPC for the checks: messages by the schema or as raw bytes, and the answer with its
// status.

import { create, type DescMethod, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type CallOptions,
  type ChannelCredentials,
  type ChannelOptions,
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientUnaryCall,
  credentials,
  Metadata,
} from "@grpc/grpc-js";
import { GRPCInferenceService } from "../../src/wire/proto/oip_pb.js";
import type { Check } from "./harness.ts";

/** A message as its fields, or as bytes that need not be one. */
type Content = Readonly<Record<string, unknown>> | Uint8Array;

/** What is asked: a method of the protocol's service by its name, or any other by its path. */
export interface GrpcRequest {
  readonly method: string;
  readonly message?: Content;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly options?: CallOptions;
}

/** What must come back. */
interface GrpcExpectation {
  /** Default 0, OK. */
  readonly code?: number;
  readonly details?: RegExp;
  /** Fields of the answer. */
  readonly message?: object;
  readonly also?: (answer: GrpcAnswer) => void;
}

export type GrpcCheck = Check<GrpcRequest, GrpcExpectation>;

/** What came back. */
export interface GrpcAnswer {
  readonly code: number;
  readonly details: string;
  /** Of an error. */
  readonly trailers: ReadonlyMap<string, string>;
  /** The message, by its schema; undefined with an error. */
  readonly message: object | undefined;
  readonly bytes: Buffer | undefined;
}

const METHODS = new Map<string, DescMethod>(
  GRPCInferenceService.methods.map((method) => [method.name, method]),
);

const asIs = (bytes: Buffer): Buffer => bytes;

/** A client of one server. */
export class GrpcClient {
  readonly #client: Client;

  constructor(
    at: string,
    options: ChannelOptions = {},
    channel: ChannelCredentials = credentials.createInsecure(),
  ) {
    const given = { "grpc.max_receive_message_length": -1, "grpc.enable_retries": 0, ...options };
    this.#client = new Client(at, channel, given);
  }

  close(): void {
    this.#client.close();
  }

  /** Asks; never rejects. */
  call(request: GrpcRequest, onCall?: (call: ClientUnaryCall) => void): Promise<GrpcAnswer> {
    const { method, message = {}, metadata = {}, options = {} } = request;
    const known = METHODS.get(method);
    return new Promise((resolve) => {
      const call = this.#client.makeUnaryRequest(
        pathOf(method),
        asIs,
        asIs,
        bytesOf(known, message),
        metadataOf(metadata),
        options,
        (error, bytes?: Buffer) => {
          const { code, details, metadata: trailers } = error ?? OK;
          const read = known && bytes && fromBinary(known.output, bytes);
          resolve({ code, details, trailers: plain(trailers), message: read, bytes });
        },
      );
      onCall?.(call);
    });
  }

  /** A stream in both directions. */
  stream(method: string, options: CallOptions = {}): ClientDuplexStream<Buffer, Buffer> {
    return this.#client.makeBidiStreamRequest(pathOf(method), asIs, asIs, new Metadata(), options);
  }

  /** A stream of answers to one message. */
  watch(method: string, message: Uint8Array): ClientReadableStream<Buffer> {
    return this.#client.makeServerStreamRequest(
      pathOf(method),
      asIs,
      asIs,
      Buffer.from(message),
      new Metadata(),
    );
  }
}

const OK = { code: 0, details: "", metadata: new Metadata() };

function pathOf(method: string): string {
  return method.startsWith("/") ? method : `/${GRPCInferenceService.typeName}/${method}`;
}

function bytesOf(method: DescMethod | undefined, message: Content): Buffer {
  if (message instanceof Uint8Array) return Buffer.from(message);
  return method === undefined
    ? Buffer.alloc(0)
    : Buffer.from(toBinary(method.input, create(method.input, message)));
}

function metadataOf(entries: Readonly<Record<string, string>>): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(entries)) metadata.set(name, value);
  return metadata;
}

function plain(metadata: Metadata): ReadonlyMap<string, string> {
  return new Map(Object.entries(metadata.getMap()).map(([name, value]) => [name, String(value)]));
}
