// `/metrics`, in the format that the scraper prefers.

import type { FastifyInstance } from "fastify";
import { CONTENT_TYPES, exposeText, formatFor } from "../../observe/exposition.ts";
import { exposeProtobuf } from "../../observe/exposition-protobuf.ts";
import type { ServerMetrics } from "../metrics.ts";
import { endpoint } from "./endpoint.ts";

/** Adds the route. */
export function registerMetrics(app: FastifyInstance, metrics: ServerMetrics): void {
  endpoint(app, "GET", "/metrics", async (request, reply) => {
    const format = formatFor(request.headers.accept);
    const families = await metrics.scrape();
    const body = format === "protobuf" ? exposeProtobuf(families) : exposeText(families, format);
    await reply.header("content-type", CONTENT_TYPES[format]).send(body);
  });
}
