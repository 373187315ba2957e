// Registering a path so that every other method gets an answer that says which ones exist (RFC 9110,
// 405 Method Not Allowed), and so that every route is known with what it takes to use it.

import type {
  FastifyContextConfig,
  FastifyInstance,
  FastifyRequest,
  RouteHandlerMethod,
} from "fastify";
import { httpRole, type RouteRole } from "../auth/roles.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** Set for routes that only say that there is no such method. */
    refusesMethod?: true;
  }
}

type Method = "GET" | "POST" | "PUT" | "DELETE";

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] as const;

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
  const others = METHODS.filter((one) => !handled.includes(one === "HEAD" ? "GET" : one));
  const allow = handled.flatMap((one) => (one === "GET" ? ["GET", "HEAD"] : [one])).join(", ");
  app.route({
    method: others,
    url,
    config: { refusesMethod: true },
    handler: async (_request, reply) => {
      const error = `this address takes ${handled.join(" and ")} only`;
      await reply.code(405).header("allow", allow).send({ error });
    },
  });
}

/** What it takes to use the route that a request goes to; what nobody thought of needs an admin. */
export function roleOf(request: FastifyRequest): RouteRole {
  return roleOfRoute(request.method, request.routeOptions);
}

/** The same for a method of a route. */
export function roleOfRoute(method: string, { url, config }: RouteShape): RouteRole {
  // Whoever may look at nothing learns no more than that there is nothing.
  if (url === undefined || config?.refusesMethod === true) return "metadata";
  return httpRole(method, url) ?? "admin";
}

/** What of a route says who may use it. */
interface RouteShape {
  readonly url: string | undefined;
  readonly config?: FastifyContextConfig | undefined;
}
