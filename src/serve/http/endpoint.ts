// Registering a path so that every other method gets an answer that says which ones exist (RFC 9110,
// 405 Method Not Allowed).

import type { FastifyInstance, RouteHandlerMethod } from "fastify";

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"] as const;

/** Handles one method of a path and refuses the others with 405. GET answers HEAD too. */
export function endpoint(
  app: FastifyInstance,
  method: "GET" | "POST",
  url: string,
  handler: RouteHandlerMethod,
): void {
  app.route({ method, url, handler });
  const others = METHODS.filter((other) => other !== method);
  app.route({
    method: others,
    url,
    handler: async (_request, reply) => {
      await reply
        .code(405)
        .header("allow", method)
        .send({ error: `this address takes ${method} only` });
    },
  });
}
