// The Open Inference Protocol v2 over REST: health, metadata, inference. JSON tensors.

import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import {
  answerFaults,
  encodeInferResponse,
  outputFaults,
  parseInferRequest,
} from "../../wire/infer.ts";
import { RequestError, requestErrorOf, sentenceOf } from "../errors.ts";
import { modelMetadata, serverMetadata } from "../extensions.ts";
import type { ServedVersion } from "../inference.ts";
import { inputsSummary } from "../tracing.ts";
import { endpoint } from "./endpoint.ts";
import { watchOf } from "./observed.ts";
import { bytesOfBody, documentOf } from "./oip-body.ts";
import { registerExtensions } from "./oip-extensions.ts";
import { hostOf, MODEL_PATHS, type OipSource, paramsOf } from "./oip-source.ts";

/** Adds the protocol's routes. */
export function registerOip(app: FastifyInstance, source: OipSource): void {
  const server = serverMetadata(source.version, { repository: source.repository !== undefined });
  for (const url of ["/v2", "/v2/"]) endpoint(app, "GET", url, async () => server);
  endpoint(app, "GET", "/v2/health/live", async () => ({ live: true }));
  endpoint(app, "GET", "/v2/health/ready", async (_request, reply) => {
    const ready = source.ready();
    await reply.code(ready ? 200 : 400).send(ready ? { ready } : { ready, error: "not ready" });
  });
  for (const model of MODEL_PATHS) {
    endpoint(app, "GET", model, async (request) => {
      const host = hostOf(source, paramsOf(request));
      return modelMetadata(host, source.versionsOf(host.name));
    });
    endpoint(app, "GET", `${model}/ready`, async (request, reply) => {
      const { name } = paramsOf(request);
      const ready = hostOf(source, paramsOf(request)).ready;
      const error = ready ? {} : { error: `model ${name} is not ready` };
      await reply.code(ready ? 200 : 400).send({ name, ready, ...error });
    });
    endpoint(app, "POST", `${model}/infer`, (request, reply) => infer(source, request, reply));
  }
  registerExtensions(app, source);
}

async function infer(
  source: OipSource,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const host = hostOf(source, paramsOf(request));
  const watch = watchOf(request);
  const parsed = readRequest(host, request);
  watch?.received(inputsSummary(parsed.inputs));
  const aborted = new AbortController();
  reply.raw.once("close", () => {
    if (!reply.raw.writableEnded) aborted.abort();
  });
  const { outputs, version } = await host.infer({
    inputs: parsed.inputs,
    outputs: parsed.outputs?.map((one) => one.name),
    signal: aborted.signal,
    observe: watch,
  });
  const tooLarge = answerFaults(outputs);
  if (tooLarge.length > 0) refuse(host, sentenceOf(tooLarge));
  await reply
    .type("application/json")
    .send(encodeInferResponse({ model: host.name, version, id: parsed.id, outputs }));
}

function refuse(host: ServedVersion, text: string): never {
  host.countFailure("invalid");
  throw new RequestError(400, "invalid", text);
}

function readRequest(host: ServedVersion, request: FastifyRequest) {
  if (request.headers["inference-header-content-length"] !== undefined) {
    refuse(
      host,
      "binary tensors are not taken here: send the tensors as JSON, without the header Inference-Header-Content-Length",
    );
  }
  if (bytesOfBody(request).byteLength === 0) {
    return refuse(host, 'the body is empty; send {"inputs": […]} as JSON');
  }
  const parsed = parseInferRequest(documentFor(host, request));
  if ("faults" in parsed) return refuse(host, sentenceOf(parsed.faults));
  const unsendable = outputFaults(host.outputs, parsed.request.outputs);
  return unsendable.length > 0 ? refuse(host, sentenceOf(unsendable)) : parsed.request;
}

function documentFor(host: ServedVersion, request: FastifyRequest): unknown {
  try {
    return documentOf(request);
  } catch (error) {
    host.countFailure(requestErrorOf(error).reason);
    throw error;
  }
}
