// The Open Inference Protocol v2 over REST: health, metadata, inference. JSON tensors.

import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import {
  answerFaults,
  encodeInferResponse,
  outputFaults,
  parseInferRequest,
  tensorMetadata,
} from "../../wire/infer.ts";
import { parseJson } from "../../wire/parse-json.ts";
import { RequestError, sentenceOf } from "../errors.ts";
import type { ServedVersion } from "../inference.ts";
import { inputsSummary } from "../tracing.ts";
import { endpoint } from "./endpoint.ts";
import { watchOf } from "./observed.ts";

/** What the routes need of the server. */
export interface OipSource {
  readonly version: string;
  /** The host of a model, the newest version if none is named. */
  find(name: string, version: string | undefined): ServedVersion | undefined;
  versionsOf(name: string): readonly number[];
  ready(): boolean;
}

interface ModelParams {
  readonly name: string;
  readonly version?: string;
}

/** Adds the protocol's routes. */
export function registerOip(app: FastifyInstance, source: OipSource): void {
  const server = {
    name: "skipway",
    version: source.version,
    extensions: ["parameters"],
  };
  for (const url of ["/v2", "/v2/"]) endpoint(app, "GET", url, async () => server);
  endpoint(app, "GET", "/v2/health/live", async () => ({ live: true }));
  endpoint(app, "GET", "/v2/health/ready", async (_request, reply) => {
    const ready = source.ready();
    await reply.code(ready ? 200 : 400).send(ready ? { ready } : { ready, error: "not ready" });
  });
  for (const model of ["/v2/models/:name", "/v2/models/:name/versions/:version"]) {
    endpoint(app, "GET", model, async (request) => metadataOf(source, paramsOf(request)));
    endpoint(app, "GET", `${model}/ready`, async (request, reply) => {
      const { name } = paramsOf(request);
      const ready = hostOf(source, paramsOf(request)).ready;
      const error = ready ? {} : { error: `model ${name} is not ready` };
      await reply.code(ready ? 200 : 400).send({ name, ready, ...error });
    });
    endpoint(app, "POST", `${model}/infer`, (request, reply) => infer(source, request, reply));
  }
}

function paramsOf(request: FastifyRequest): ModelParams {
  // The route patterns above give these two names.
  return request.params as ModelParams;
}

function hostOf(source: OipSource, { name, version }: ModelParams): ServedVersion {
  const host = source.find(name, version);
  if (host !== undefined) return host;
  const what = version === undefined ? "" : ` in version "${version.slice(0, 128)}"`;
  throw new RequestError(404, "invalid", `there is no model "${name.slice(0, 128)}"${what} here`);
}

function metadataOf(source: OipSource, params: ModelParams): Record<string, unknown> {
  const host = hostOf(source, params);
  return {
    name: host.name,
    versions: source.versionsOf(host.name).map(String),
    platform: "onnx_onnxv1",
    inputs: tensorMetadata(host.inputs),
    outputs: tensorMetadata(host.outputs),
    properties: { digest: host.digest },
  };
}

async function infer(
  source: OipSource,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const host = hostOf(source, paramsOf(request));
  const watch = watchOf(request);
  watch?.target(host);
  const parsed = readRequest(host, request);
  watch?.received(inputsSummary(parsed.inputs));
  const aborted = new AbortController();
  reply.raw.once("close", () => {
    if (!reply.raw.writableEnded) aborted.abort();
  });
  const { outputs, version } = await host.infer({
    inputs: parsed.inputs,
    outputs: parsed.outputs,
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
  if (typeof request.body !== "string" || request.body === "") {
    return refuse(host, 'the body is empty; send {"inputs": […]} as JSON');
  }
  const json = parseJson(request.body);
  if ("fault" in json) return refuse(host, `the body is no JSON: ${json.fault}`);
  const parsed = parseInferRequest(json.value);
  if ("faults" in parsed) return refuse(host, sentenceOf(parsed.faults));
  const unsendable = outputFaults(host.outputs, parsed.request.outputs);
  return unsendable.length > 0 ? refuse(host, sentenceOf(unsendable)) : parsed.request;
}
