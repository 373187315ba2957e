// Rollouts over HTTP, as JSON.

import type { FastifyInstance, FastifyRequest } from "fastify";
import { RequestError, requestErrorOf } from "../serve/errors.ts";
import { actorOf, noteDryRun } from "../serve/http/app.ts";
import { endpoint, endpoints } from "../serve/http/endpoint.ts";
import { documentOf } from "../serve/http/oip-body.ts";
import type { ActOrder, Rollouts, StartOrder } from "./controller.ts";
import { registerFeedback } from "./feedback-routes.ts";
import { Fields } from "./fields.ts";
import type { Act } from "./state.ts";

const ACTS: readonly Act[] = ["hold", "resume", "freeze", "promote", "abort"];
const REASON_CHARS_MAX = 1000;
const LISTED = 50;

/** Adds the routes. */
export function registerRollouts(app: FastifyInstance, rollouts: Rollouts): void {
  endpoints(app, "/api/v1/models/:name/rollout", {
    GET: async (request) => {
      const name = nameOf(request);
      const found = await rollouts.last(name);
      if (found !== undefined) return found;
      throw new RequestError(404, "invalid", `there has been no rollout of "${name}"`);
    },
    POST: async (request, reply) => {
      const { order, dryRun } = startOf(request);
      const name = nameOf(request);
      if (dryRun) {
        noteDryRun(request);
        return answered(rollouts.propose(name, order));
      }
      return reply.code(201).send(await answered(rollouts.start(name, order)));
    },
  });
  endpoint(app, "POST", "/api/v1/models/:name/rollout/:act", async (request) => {
    const act = actOf(request);
    const { order, dryRun } = orderOf(request);
    const name = nameOf(request);
    if (!dryRun) return rollouts.act(name, act, order);
    noteDryRun(request);
    const effects = await rollouts.foresee(name, act, order);
    return { schema: "skipway.rollout-effects/1", model: name, act, effects };
  });
  endpoint(app, "GET", "/api/v1/rollouts", async () => ({
    schema: "skipway.rollouts/1",
    rollouts: await rollouts.list(LISTED),
  }));
  endpoint(app, "GET", "/api/v1/rollouts/:id", async (request) => {
    const found = await rollouts.rollout(idOf(request));
    if (found === undefined) throw noRollout(request);
    return found;
  });
  endpoint(app, "GET", "/api/v1/rollouts/:id/certificate", async (request) => {
    const id = idOf(request);
    if ((await rollouts.rollout(id)) === undefined) throw noRollout(request);
    const certificates = await rollouts.certificates(id);
    return { schema: "skipway.rollout-certificates/1", rollout: id, certificates };
  });
  endpoint(app, "GET", "/api/v1/rollouts/:id/evidence", async (request) => {
    const id = idOf(request);
    if ((await rollouts.rollout(id)) === undefined) throw noRollout(request);
    return rollouts.decided(id);
  });
  registerFeedback(app, rollouts);
  app.addHook("preClose", () => rollouts.close());
}

/** What is wrong with an order is the client's matter. */
async function answered<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw requestErrorOf(error);
  }
}

function startOf(request: FastifyRequest): {
  readonly order: StartOrder;
  readonly dryRun: boolean;
} {
  const faults: string[] = [];
  const fields = new Fields(documentOf(request), "", faults);
  const to = fields.number("to", { min: 1, max: Number.MAX_SAFE_INTEGER, whole: true });
  const policy = fields.value("policy");
  const reason = fields.text("reason", REASON_CHARS_MAX);
  const override = fields.text("override", REASON_CHARS_MAX)?.trim();
  const dryRun = fields.boolean("dryRun") ?? false;
  fields.end();
  if (to === undefined && faults.length === 0)
    faults.push("to, the version to roll out, is missing");
  if (to === undefined || faults.length > 0) throw invalid(faults);
  const order = {
    to,
    actor: actorOf(request),
    ...(policy !== undefined && { policy }),
    ...(reason !== undefined && { reason }),
    ...(override !== undefined && override !== "" && { override }),
  };
  return { order, dryRun };
}

function orderOf(request: FastifyRequest): { readonly order: ActOrder; readonly dryRun: boolean } {
  const faults: string[] = [];
  const fields = new Fields(documentOf(request), "", faults);
  const reason = fields.text("reason", REASON_CHARS_MAX) ?? "";
  const rollback = fields.boolean("rollback");
  const dryRun = fields.boolean("dryRun") ?? false;
  fields.end();
  if (faults.length > 0) throw invalid(faults);
  const order = { actor: actorOf(request), reason, ...(rollback !== undefined && { rollback }) };
  return { order, dryRun };
}

function actOf(request: FastifyRequest): Act {
  // The route pattern above gives this name.
  const { act } = request.params as { act: string };
  const found = ACTS.find((one) => one === act);
  if (found !== undefined) return found;
  const known = ACTS.join(", ");
  throw new RequestError(
    404,
    "invalid",
    `"${act.slice(0, 64)}" is nothing to do with a rollout; there are ${known}`,
  );
}

function nameOf(request: FastifyRequest): string {
  // The route patterns above give this name.
  const { name } = request.params as { name: string };
  return name.slice(0, 128);
}

function idOf(request: FastifyRequest): string {
  // The route patterns above give this name.
  const { id } = request.params as { id: string };
  return id.slice(0, 64);
}

function noRollout(request: FastifyRequest): RequestError {
  return new RequestError(404, "invalid", `there is no rollout "${idOf(request)}"`);
}

function invalid(faults: readonly string[]): RequestError {
  return new RequestError(400, "invalid", faults.join("; "));
}
