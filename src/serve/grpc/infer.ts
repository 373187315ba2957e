// ModelInfer: from what was asked through a model to what answers it. One for single calls and streams.

import { classified } from "../../wire/classification.ts";
import type { GrpcInferRequest } from "../../wire/grpc-infer.ts";
import { type GrpcInferAnswer, tooLongForContents } from "../../wire/grpc-response.ts";
import type { InferRequest } from "../../wire/request.ts";
import { outputFaults } from "../../wire/response.ts";
import { Ending } from "../end-signal.ts";
import { RequestError, requestErrorOf, sentenceOf } from "../errors.ts";
import { endAt } from "../http/oip-infer.ts";
import { hostOf, type OipSource } from "../http/oip-source.ts";
import type { InferenceAnswer, InferenceCall, ServedVersion } from "../inference.ts";
import { deadlineOf, keyOf, priorityOf } from "../schedule.ts";
import { inputsSummary, type RequestWatch } from "../tracing.ts";
import type { GrpcCall } from "./call.ts";

/** A call without its bytes, which were read. */
type Caller = Omit<GrpcCall, "message">;

/** Asks a model; who begins the observation ends it. @throws RequestError */
export async function infer(
  source: OipSource,
  decoded: GrpcInferRequest,
  caller: Caller,
  watch: RequestWatch | undefined,
): Promise<GrpcInferAnswer> {
  watch?.asks(decoded);
  const host = hostOf(source, { name: decoded.model, version: decoded.version });
  const { parsed, raw } = decoded;
  if ("faults" in parsed) refuse(host, sentenceOf(parsed.faults));
  const { request } = parsed;
  const faults = outputFaults(host.outputs, { outputs: request.outputs, parameters: AS_BYTES });
  if (faults.length > 0) refuse(host, sentenceOf(faults));
  const call = callOf(host, request, caller, watch);
  watch?.received(inputsSummary(request.inputs), call.deadlineMs);
  const { outputs, version } = await ask(host, call, caller);
  const answer = withClasses(request, outputs);
  if (!raw && tooLongForContents(answer)) {
    const text = "the answer is too long for typed contents; send raw_input_contents for a raw one";
    refuse(host, text);
  }
  return { model: host.name, version, id: decoded.id, outputs: answer, raw };
}

/** Outputs travel as bytes, so that each type can. */
const AS_BYTES: ReadonlyMap<string, boolean> = new Map([["binary_data_output", true]]);

function refuse(host: ServedVersion, text: string): never {
  host.countFailure("invalid");
  throw new RequestError(400, "invalid", text);
}

function callOf(
  host: ServedVersion,
  request: InferRequest,
  caller: Caller,
  observe: RequestWatch | undefined,
): InferenceCall {
  const { parameters } = request;
  try {
    const asked = deadlineOf(parameters, caller.header("x-request-timeout-ms"), caller.arrivedMs);
    const given = caller.deadlineMs;
    const deadlineMs = asked === undefined ? given : Math.min(asked, given ?? asked);
    return {
      inputs: request.inputs,
      outputs: request.outputs?.map((one) => one.name),
      priority: priorityOf(parameters),
      key: keyOf(parameters, caller.header("x-skipway-key")),
      deadlineMs,
      signal: caller.signal,
      observe,
    };
  } catch (error) {
    if (error instanceof RequestError) host.countFailure(error.reason);
    throw error;
  }
}

/** Also ends what has a time of its own in its parameters: at the deadline of a call gRPC ends it. */
async function ask(
  host: ServedVersion,
  call: InferenceCall,
  caller: Caller,
): Promise<InferenceAnswer> {
  if (call.deadlineMs === caller.deadlineMs) return host.infer(call);
  const ended = new Ending();
  const timer = endAt(call.deadlineMs, caller.clock, ended);
  const gone = (): void => ended.abort(caller.signal.reason);
  if (caller.signal.aborted) gone();
  caller.signal.addEventListener("abort", gone, { once: true });
  try {
    return await host.infer({ ...call, signal: ended });
  } catch (error) {
    throw requestErrorOf(error, ended);
  } finally {
    clearTimeout(timer);
    caller.signal.removeEventListener("abort", gone);
  }
}

function withClasses(
  { outputs: requested }: InferRequest,
  outputs: InferenceAnswer["outputs"],
): InferenceAnswer["outputs"] {
  if (requested === undefined) return outputs;
  const classes = new Map(requested.map((one) => [one.name, one.classification]));
  if (![...classes.values()].some((one) => one !== undefined)) return outputs;
  return new Map(
    [...outputs].map(([name, value]) => {
      const count = classes.get(name);
      return [name, count === undefined ? value : classified(value, count)];
    }),
  );
}
