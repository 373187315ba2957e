// Inference over REST: a body becomes a question to a model, its answer a body.

import { Readable } from "node:stream";
import type { FastifyReply, FastifyRequest } from "fastify";
import { type Clock, systemClock } from "../../base/clock.ts";
import { parseInferRequest } from "../../wire/infer.ts";
import type { InferRequest } from "../../wire/request.ts";
import { encodeInferResponse, outputFaults } from "../../wire/response.ts";
import { Ending } from "../end-signal.ts";
import { RequestError, sentenceOf } from "../errors.ts";
import type { InferenceCall, ServedVersion } from "../inference.ts";
import { deadlineOf, keyOf, priorityOf } from "../schedule.ts";
import { inputsSummary } from "../tracing.ts";
import { acceptedEncoding, compressed } from "./answer-encoding.ts";
import { watchOf } from "./observed.ts";
import { bytesOfBody } from "./oip-body.ts";

/** A larger answer of several parts goes out part by part; a smaller one is put together, which is faster. */
const STREAMED_BYTES = 1_048_576;

/** Answers one request of inference. */
export async function answerInference(
  host: ServedVersion,
  request: FastifyRequest,
  reply: FastifyReply,
  clock: Clock = systemClock,
): Promise<void> {
  const arrivedMs = clock.monotonicMs() - reply.elapsedTime;
  const watch = watchOf(request);
  const asked = readRequest(host, request);
  const ended = new Ending();
  const call = callOf(host, asked, request, { arrivedMs, signal: ended, observe: watch });
  watch?.received(inputsSummary(asked.inputs), call.deadlineMs);
  const timer = endAt(call.deadlineMs, clock, ended);
  reply.raw.once("close", () => {
    if (!reply.raw.writableEnded) ended.abort();
  });
  try {
    const { outputs, version } = await host.infer(call);
    const encoded = encodeInferResponse({ model: host.name, version, request: asked, outputs });
    if ("faults" in encoded) return refuse(host, sentenceOf(encoded.faults));
    await send(reply, request, encoded.chunks, encoded.headerLength);
  } catch (error) {
    // Whoever was asked then may say that the client went away: it did not, and waits for an answer.
    throw ended.reason instanceof RequestError ? ended.reason : error;
  } finally {
    clearTimeout(timer);
  }
}

function refuse(host: ServedVersion, text: string): never {
  host.countFailure("invalid");
  throw new RequestError(400, "invalid", text);
}

function readRequest(host: ServedVersion, request: FastifyRequest): InferRequest {
  const header = request.headers["inference-header-content-length"];
  if (header === "0" && host.inputs.size === 0) {
    // Not loaded, or about to be again: what the bytes mean is not known before it is.
    host.countFailure("not-ready");
    const text = `model ${host.name} is not ready`;
    throw new RequestError(503, "not-ready", text, { retryAfterSeconds: 1 });
  }
  const parsed = parseInferRequest(bytesOfBody(request), {
    // Sent twice it is a list of numbers, which is no number.
    headerLength: header === undefined ? undefined : String(header),
    inputs: host.inputs,
  });
  if ("faults" in parsed) return refuse(host, sentenceOf(parsed.faults));
  const faults = outputFaults(host.outputs, parsed.request);
  return faults.length > 0 ? refuse(host, sentenceOf(faults)) : parsed.request;
}

function callOf(
  host: ServedVersion,
  asked: InferRequest,
  { headers }: FastifyRequest,
  around: Pick<InferenceCall, "signal" | "observe"> & { readonly arrivedMs: number },
): InferenceCall {
  try {
    return {
      inputs: asked.inputs,
      outputs: asked.outputs?.map((one) => one.name),
      deadlineMs: deadlineOf(asked.parameters, headers["x-request-timeout-ms"], around.arrivedMs),
      priority: priorityOf(asked.parameters),
      key: keyOf(asked.parameters, headers["x-skipway-key"]),
      signal: around.signal,
      observe: around.observe,
    };
  } catch (error) {
    if (error instanceof RequestError) host.countFailure(error.reason);
    throw error;
  }
}

/** Ends a request at its deadline, wherever it is then. */
export function endAt(
  deadlineMs: number | undefined,
  clock: Clock,
  ended: Ending,
): NodeJS.Timeout | undefined {
  if (deadlineMs === undefined) return undefined;
  const left = Math.max(0, deadlineMs - clock.monotonicMs());
  const text = "the time that the request gave was over before there was an answer";
  return setTimeout(() => ended.abort(new RequestError(504, "deadline", text)), left);
}

async function send(
  reply: FastifyReply,
  request: FastifyRequest,
  chunks: readonly Uint8Array[],
  headerLength: number | undefined,
): Promise<void> {
  reply.type(headerLength === undefined ? "application/json" : "application/octet-stream");
  if (headerLength !== undefined) reply.header("Inference-Header-Content-Length", headerLength);
  const size = chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0);
  const encoding = acceptedEncoding(request.headers["accept-encoding"]);
  if (encoding !== undefined) {
    const body = await compressed(Buffer.concat(chunks), encoding);
    reply.header("vary", "accept-encoding");
    if (body !== undefined) {
      await reply.header("content-encoding", encoding).send(body);
      return;
    }
  }
  if (chunks.length > 1 && size > STREAMED_BYTES) {
    await reply.header("content-length", size).send(Readable.from(chunks));
    return;
  }
  const [only] = chunks;
  await reply.send(chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks));
}
