// Feedback by request id, and the comparison of business outcomes, over HTTP.

import type { FastifyInstance, FastifyRequest } from "fastify";
import { RequestError } from "../serve/errors.ts";
import { endpoint } from "../serve/http/endpoint.ts";
import { documentOf } from "../serve/http/oip-body.ts";
import type { Rollouts } from "./controller.ts";
import type { FeedbackItem } from "./feedback.ts";
import { Fields } from "./fields.ts";

/** Items of one request: each may be looked up in the store. */
const ITEMS_MAX = 10_000;
const ID_CHARS_MAX = 128;
const OUTCOMES_MAX = 16;
const NAME = /^[A-Za-z_][\w.-]{0,63}$/;
const NO_NAME =
  "is no name of an outcome: up to 64 letters, digits, _, . and -, from a letter or _ on, and not __proto__";
/** Findings that are told. */
const FAULTS_SHOWN = 10;

/** Adds the routes. */
export function registerFeedback(app: FastifyInstance, rollouts: Rollouts): void {
  endpoint(app, "POST", "/api/v1/feedback", (request) => rollouts.feedback(itemsOf(request)));
  endpoint(app, "GET", "/api/v1/models/:name/ab", async (request) => {
    // The route pattern above gives this name.
    const { name } = request.params as { name: string };
    const outcomes = rollouts.comparisons(name);
    if (outcomes === undefined) {
      const text = `no rollout of "${name.slice(0, 128)}" is under way, or has been since the server started`;
      throw new RequestError(404, "invalid", text);
    }
    return { schema: "skipway.ab/1", model: name, ...outcomes };
  });
}

/** One item, or a list of them. @throws RequestError 400 with what is wrong. */
function itemsOf(request: FastifyRequest): FeedbackItem[] {
  const document = documentOf(request);
  const faults: string[] = [];
  // A list of JSON holds whatever it holds.
  const list = Array.isArray(document) ? (document as readonly unknown[]) : [document];
  if (list.length > ITEMS_MAX) {
    throw new RequestError(400, "invalid", `at most ${ITEMS_MAX} in one request`);
  }
  const items = list.flatMap((one, i) => itemOf(one, list.length > 1 ? `[${i}].` : "", faults));
  if (faults.length === 0) return items;
  throw new RequestError(400, "invalid", faults.slice(0, FAULTS_SHOWN).join("; "));
}

function itemOf(value: unknown, where: string, faults: string[]): FeedbackItem[] {
  const before = faults.length;
  const fields = new Fields(value, where, faults);
  const requestId = fields.text("requestId", ID_CHARS_MAX);
  const correct = fields.boolean("correct");
  const [min, max] = [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER];
  const label = fields.number("label", { min, max, whole: true });
  const given = fields.object("outcome");
  const outcome: Record<string, number> = {};
  if (given !== undefined) {
    for (const name of given.names.slice(0, OUTCOMES_MAX + 1)) {
      const number = given.number(name, { min: -1e15, max: 1e15 });
      if (!NAME.test(name) || name === "__proto__") given.fault(name.slice(0, 64), NO_NAME);
      else if (number !== undefined) outcome[name] = number;
    }
    if (given.names.length > OUTCOMES_MAX) fields.fault("outcome", `has more than ${OUTCOMES_MAX}`);
  }
  fields.end();
  if (faults.length > before) return [];
  if (requestId === undefined)
    fields.fault("requestId", "is missing: the x-request-id of the answer");
  else if (correct !== undefined && label !== undefined) {
    fields.fault("label", 'stands beside "correct": the label says it already');
  } else if (correct === undefined && label === undefined && given === undefined) {
    fields.fault("correct", 'or "label" or "outcome" is missing');
  } else {
    const known = {
      ...(correct !== undefined && { correct }),
      ...(label !== undefined && { label }),
    };
    return [{ requestId, ...known, ...(given !== undefined && { outcome }) }];
  }
  return [];
}
