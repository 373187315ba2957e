// The control of what is served, as JSON: who gets which requests of a model.

import type { FastifyInstance, FastifyRequest } from "fastify";
import { RequestError } from "../errors.ts";
import type { Fleet } from "../fleet.ts";
import type { FleetEntry } from "../fleet-slot.ts";
import type { TrafficSplit } from "../router.ts";
import { endpoint, endpoints } from "./endpoint.ts";
import { documentOf } from "./oip-body.ts";
import { notYet } from "./oip-source.ts";

/** Adds the routes. */
export function registerControl(app: FastifyInstance, fleet: Fleet): void {
  endpoints(app, "/api/v1/models/:name/split", {
    GET: async (request) => splitDocument(entryOf(fleet, request)),
    PUT: async (request) => {
      const { name } = entryOf(fleet, request);
      fleet.setSplit(name, splitOf(documentOf(request)));
      return splitDocument(entryOf(fleet, request));
    },
    DELETE: async (request) => {
      await fleet.follow(entryOf(fleet, request).name);
      return splitDocument(entryOf(fleet, request));
    },
  });
  endpoint(app, "POST", "/api/v1/models/:name/versions/:version/drain", async (request) => {
    const { name } = entryOf(fleet, request);
    await fleet.drain(name, versionOf(request));
    return splitDocument(entryOf(fleet, request));
  });
}

/** The version in the path. @throws RequestError 404 for what is no number of one. */
function versionOf(request: FastifyRequest): number {
  // The route pattern above gives this name.
  const { version } = request.params as { version: string };
  if (/^[1-9]\d{0,14}$/.test(version)) return Number(version);
  throw new RequestError(404, "invalid", `"${version.slice(0, 64)}" is no number of a version`);
}

function entryOf(fleet: Fleet, request: FastifyRequest): FleetEntry {
  // The route pattern above gives this name.
  const { name } = request.params as { name: string };
  const entry = fleet.entry(name);
  if (entry !== undefined) return entry;
  if (fleet.awaits(name)) throw notYet(name);
  throw new RequestError(404, "invalid", `there is no model "${name.slice(0, 128)}" here`);
}

function splitDocument({ name, split, owner, hosts, shadow }: FleetEntry): unknown {
  const versions = [...hosts.values()].map(({ version, digest, ready, phase }) => ({
    version,
    digest,
    ready,
    state: phase,
  }));
  const byHand = owner === "hand";
  return { model: name, split, byHand, owner, versions, shadow: shadow.report() };
}

const FIELDS = ["stable", "candidate", "share", "shadow", "tolerance"] as const;

/** @throws RequestError 400 for what is no split. */
function splitOf(document: unknown): TrafficSplit {
  if (typeof document !== "object" || document === null || Array.isArray(document)) {
    throw invalid('the body is a JSON object such as {"stable": 1, "candidate": 2, "share": 0.05}');
  }
  const fields = new Map<string, unknown>(Object.entries(document));
  for (const [name, value] of fields) {
    if (!FIELDS.some((known) => known === name)) {
      throw invalid(`"${name.slice(0, 64)}" is no field of a split; they are ${FIELDS.join(", ")}`);
    }
    if (typeof value !== "number") throw invalid(`${name} is a number`);
  }
  const number = (name: string): number | undefined => {
    const value = fields.get(name);
    return typeof value === "number" ? value : undefined;
  };
  const [stable, candidate, share, shadow, tolerance] = FIELDS.map(number);
  if (stable === undefined) throw invalid("stable, the version that gets the rest, is missing");
  return {
    stable,
    share: share ?? 0,
    ...(candidate !== undefined && { candidate }),
    ...(shadow !== undefined && { shadow }),
    ...(tolerance !== undefined && { tolerance }),
  };
}

function invalid(text: string): RequestError {
  return new RequestError(400, "invalid", text);
}
