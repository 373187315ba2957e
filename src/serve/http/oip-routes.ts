// The Open Inference Protocol v2 over REST: health, metadata, inference, extensions.

import type { FastifyInstance } from "fastify";
import { modelMetadata, serverMetadata } from "../extensions.ts";
import { endpoint } from "./endpoint.ts";
import { registerExtensions } from "./oip-extensions.ts";
import { answerInference } from "./oip-infer.ts";
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
    endpoint(app, "POST", `${model}/infer`, (request, reply) =>
      answerInference(hostOf(source, paramsOf(request)), request, reply),
    );
  }
  registerExtensions(app, source);
}
