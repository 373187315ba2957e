// What stands between a connection and the methods: whether a call may be made, asked before its message is read,
// and how long the message may take to arrive.

import type { Metadata, ServerInterceptor } from "@grpc/grpc-js";
import type { Clock } from "../../base/clock.ts";
import { RequestError } from "../errors.ts";
import type { BodyReader } from "../http/body.ts";
import type { RequestObserver } from "../tracing.ts";
import { headerOf } from "./call.ts";
import type { Inbound } from "./inbound.ts";
import { observe } from "./observed.ts";
import { CODE, type GrpcStatus, statusOf } from "./status.ts";
import { unfoldWith } from "./unfold.ts";

/** What the library is once loaded. */
export type Grpc = typeof import("@grpc/grpc-js");

/** The metadata of a call, for whoever decides whether it may be made. */
export interface CallMetadata {
  /** Of several values the first; undefined for binary ones. */
  header(name: string): string | undefined;
  /** Address and port of the client. */
  readonly peer: string;
  /** The `:authority` that the client named. */
  readonly host: string;
  /** Whether the connection is encrypted. */
  readonly secure: boolean;
  /** To be told under which name it is let in. */
  admitted(actor: string): void;
}

/** Is told how a call ended that was let in, before its client is: the name that gRPC has for the status. */
type Settle = (result: string) => Promise<void>;

/**
 * Decides whether a method (`/service/Method`) may be called; may take its time. Gives whom to tell how it ended.
 *
 * @throws RequestError 401 or 403, or rejects with it.
 */
export type Authorize = (method: string, call: CallMetadata) => Promise<Settle | undefined>;

/** A client whose message is not whole after this holds memory for nothing: as over HTTP. */
const RECEIVE_TIMEOUT_MS = 60_000;

/** What the guard goes by. */
interface GuardOptions {
  readonly inbound: Inbound;
  /** Unfolds the messages that are compressed. */
  readonly bodies: BodyReader;
  readonly authorize: Authorize | undefined;
  readonly secure: boolean;
  /** Sees the inferences. */
  readonly observer: RequestObserver | undefined;
  readonly clock: Clock;
}

/** Looks at every call before its message is read, and waits for the message only so long. */
export function guard(
  grpc: Grpc,
  { authorize, secure, inbound, bodies, observer, clock }: GuardOptions,
): ServerInterceptor {
  return ({ path, requestStream }, call) => {
    let timer: NodeJS.Timeout | undefined;
    const held = inbound.begin(call.getPeer());
    const observed = observe(observer, path, call, clock);
    unfoldWith(bodies, call, (error) => {
      observed?.failed(error);
      return failure(grpc, statusOf(error));
    });
    let tagged = false;
    const tag = (metadata: Metadata | null | undefined): void => {
      if (!tagged && metadata) observed?.tag(metadata);
      tagged = true;
    };
    let settle: Settle | undefined;
    const settled = (code: number): Promise<void> | undefined => {
      const told = settle?.(grpc.status[code] ?? String(code));
      settle = undefined;
      return told;
    };
    const end = (): void => {
      clearTimeout(timer);
      held.end();
    };
    const refuse = (error: unknown): void => {
      const { code, details, metadata } = failure(grpc, statusOf(error));
      observed?.failed(error);
      tag(metadata);
      call.sendStatus({ code, details, metadata });
    };
    const admit = async (metadata: Metadata): Promise<void> => {
      const header = (name: string): string | undefined => headerOf(metadata, name);
      settle = await authorize?.(path, {
        header,
        peer: call.getPeer(),
        host: call.getHost(),
        secure,
        admitted: (actor) => observed?.admitted(metadata, actor),
      });
    };
    const read = (metadata: Metadata, accept: (metadata: Metadata) => void): void => {
      if (!requestStream) timer = setTimeout(() => refuse(tooSlow()), RECEIVE_TIMEOUT_MS);
      accept(metadata);
    };
    return new grpc.ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, accept) => {
            observed?.begin(metadata);
            if (authorize === undefined) read(metadata, accept);
            else admit(metadata).then(() => read(metadata, accept), refuse);
          },
          onReceiveMessage: (message, accept) => {
            clearTimeout(timer);
            // Messages pass as bytes.
            if (message instanceof Uint8Array) {
              held.received(message.byteLength);
              observed?.received(message.byteLength);
            }
            accept(message);
          },
          onCancel: () => {
            end();
            observed?.closed();
            // Where nothing can be written down there is nobody left to tell.
            settled(CODE.CANCELLED)?.catch(() => undefined);
          },
        }),
      sendMetadata: (metadata, send) => {
        tag(metadata);
        send(metadata);
      },
      sendMessage: (message, send) => {
        if (message instanceof Uint8Array) {
          held.answered(message.byteLength);
          observed?.sent(message.byteLength);
        }
        send(message);
      },
      sendStatus: (status, send) => {
        end();
        tag(status.metadata);
        const told = settled(status.code);
        if (told === undefined) send(status);
        else told.then(() => send(status)).catch((error) => send(failure(grpc, statusOf(error))));
      },
    });
  };
}

function tooSlow(): RequestError {
  return new RequestError(408, "invalid", "the request took too long to arrive");
}

/** A status on its way to a client, as the library wants it: an error with more fields. */
type Failure = Error & {
  readonly code: number;
  readonly details: string;
  readonly metadata: Metadata;
};

/** What ends a call with a status. */
export function failure(grpc: Grpc, { code, details, pushbackMs }: GrpcStatus): Failure {
  const metadata = new grpc.Metadata();
  // What retrying clients obey (gRFC A6, "Pushback"): a negative number ends their tries.
  if (pushbackMs !== undefined) metadata.set("grpc-retry-pushback-ms", String(pushbackMs));
  return Object.assign(new Error(details), { code, details, metadata });
}
