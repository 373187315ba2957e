// Registering a path so that every other method gets an answer that says which ones exist (RFC 9110,
// 405 Method Not Allowed).

import type { FastifyInstance, RouteHandlerMethod } from "fastify";

type Method = "GET" | "POST" | "PUT" | "DELETE";

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"] as const;

/** Handles one method of a path and refuses the others with 405. GET answers HEAD too. */
export function endpoint(
  app: FastifyInstance,
  method: Method,
  url: string,
  handler: RouteHandlerMethod,
): void {
  endpoints(app, url, { [method]: handler });
}

/** Handles several methods of a path and refuses the others with 405. */
export function endpoints(
  app: FastifyInstance,
  url: string,
  handlers: Readonly<Partial<Record<Method, RouteHandlerMethod>>>,
): void {
  for (const [method, handler] of Object.entries(handlers)) app.route({ method, url, handler });
  const handled = Object.keys(handlers);
  app.route({
    method: METHODS.filter((one) => !handled.includes(one)),
    url,
    handler: async (_request, reply) => {
      const error = `this address takes ${handled.join(" and ")} only`;
      await reply.code(405).header("allow", handled.join(", ")).send({ error });
    },
  });
}
