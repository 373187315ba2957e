// ModelInfer: from the bytes of a request through a model to what answers it. One for single calls and streams.

import type { GrpcInferRequest } from "../../wire/grpc-infer.ts";
import { type GrpcInferAnswer, tooLongForContents } from "../../wire/grpc-response.ts";
import { RequestError, sentenceOf } from "../errors.ts";
import { hostOf, type OipSource } from "../http/oip-source.ts";
import type { ServedVersion } from "../inference.ts";
import type { GrpcCall } from "./call.ts";

/** Asks a model. @throws RequestError */
export async function infer(
  source: OipSource,
  decoded: GrpcInferRequest,
  call: Omit<GrpcCall, "message">,
): Promise<GrpcInferAnswer> {
  const host = hostOf(source, { name: decoded.model, version: decoded.version });
  const { parsed, raw } = decoded;
  if ("faults" in parsed) refuse(host, sentenceOf(parsed.faults));
  const { inputs, outputs: wanted } = parsed.request;
  const { outputs, version } = await host.infer({
    inputs,
    outputs: wanted?.map((one) => one.name),
    deadlineMs: call.deadlineMs,
    signal: call.signal,
  });
  if (!raw && tooLongForContents(outputs)) {
    refuse(
      host,
      "the answer is too long for typed contents; send raw_input_contents, and it comes raw",
    );
  }
  return { model: host.name, version, id: decoded.id, outputs, raw };
}

function refuse(host: ServedVersion, text: string): never {
  host.countFailure("invalid");
  throw new RequestError(400, "invalid", text);
}
