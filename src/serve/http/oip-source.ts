// What the protocol's routes need of the server, and how a path names a model.

import type { FastifyRequest } from "fastify";
import { RequestError } from "../errors.ts";
import type { Repository } from "../extensions.ts";
import type { ServedVersion } from "../inference.ts";
import type { RequestObserver } from "../tracing.ts";

/** What the routes need of the server. */
export interface OipSource {
  /** Of skipway. */
  readonly version: string;
  /** A version of a model; where none is named, what answers for the name. */
  find(name: string, version: string | undefined): ServedVersion | undefined;
  /** Whether a name that is not there may be so soon: the server is starting, and has not read or loaded all yet. */
  awaits?(name: string): boolean;
  versionsOf(name: string): readonly number[];
  /** Every version of every model. */
  all(): readonly ServedVersion[];
  ready(): boolean;
  /** What loads and unloads models; without it there are no such routes. */
  readonly repository?: Repository | undefined;
  /** Sees the requests to models that come over gRPC; the HTTP application has its own hook. */
  readonly observer?: RequestObserver | undefined;
}

/** The parameters of a path. */
export interface ModelParams {
  readonly name: string;
  readonly version?: string | undefined;
}

/** The paths of a model: its name, decoded once, and perhaps a version. */
export const MODEL_PATHS = ["/v2/models/:name", "/v2/models/:name/versions/:version"] as const;

/** Characters of a name that an error repeats. */
const NAME_SHOWN = 128;

/** Clients ask again after 503, and give up after 404. */
const NOT_YET = { retryAfterSeconds: 1 };

export function paramsOf(request: FastifyRequest): ModelParams {
  // The route patterns above give these two names.
  return request.params as ModelParams;
}

/** @throws RequestError 404 where there is no such model or version, 503 while that is not known yet. */
export function hostOf(source: OipSource, { name, version }: ModelParams): ServedVersion {
  const host = source.find(name, version);
  if (host !== undefined) return host;
  const what = version === undefined ? "" : ` in version "${version.slice(0, NAME_SHOWN)}"`;
  if (source.awaits?.(name) === true) throw notYet(name);
  const text = `there is no model "${name.slice(0, NAME_SHOWN)}"${what} here`;
  throw new RequestError(404, "invalid", text);
}

/** 503: a server that starts does not know yet what it has. */
export function notYet(name: string): RequestError {
  const text = `the server is starting: the model "${name.slice(0, NAME_SHOWN)}" is not loaded yet, if it is there`;
  return new RequestError(503, "not-ready", text, NOT_YET);
}
