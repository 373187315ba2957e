// The protocol's extensions over REST: configuration and statistics of models, and the repository.

import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Diagnostic } from "../../base/diagnostic.ts";
import { readParameters } from "../../wire/fields.ts";
import type { Parameters } from "../../wire/request.ts";
import { RequestError, sentenceOf } from "../errors.ts";
import {
  type IndexRow,
  indexRows,
  type ModelStatistics,
  modelConfiguration,
  modelStatistics,
  type Repository,
  refuseOverrides,
} from "../extensions.ts";
import type { ServedVersion } from "../inference.ts";
import { endpoint } from "./endpoint.ts";
import { documentOf } from "./oip-body.ts";
import { hostOf, MODEL_PATHS, type ModelParams, type OipSource, paramsOf } from "./oip-source.ts";

/** Adds the routes of the extensions; those of the repository where there is one. */
export function registerExtensions(app: FastifyInstance, source: OipSource): void {
  for (const path of MODEL_PATHS) {
    endpoint(app, "GET", `${path}/config`, async (request) => {
      const host = hostOf(source, paramsOf(request));
      return modelConfiguration(host, source.versionsOf(host.name));
    });
    endpoint(app, "GET", `${path}/stats`, async (request) => {
      return statisticsOf(versionsAsked(source, paramsOf(request)));
    });
  }
  endpoint(app, "GET", "/v2/models/stats", async () => statisticsOf(source.all()));
  endpoint(app, "GET", "/v2/models", async () => ({
    models: [...new Set(source.all().map((one) => one.name))],
  }));
  if (source.repository !== undefined) registerRepository(app, source.repository);
}

/** The version that is named, or all of the model. @throws RequestError 404 where there is none. */
export function versionsAsked(
  source: OipSource,
  { name, version }: ModelParams,
): readonly ServedVersion[] {
  if (version !== undefined) return [hostOf(source, { name, version })];
  const all = source.versionsOf(name).map((one) => source.find(name, String(one)));
  const found = all.filter((one) => one !== undefined);
  return found.length === 0 ? [hostOf(source, { name })] : found;
}

/** The statistics of versions, of those that count. */
export function statisticsOf(hosts: readonly ServedVersion[]): { model_stats: ModelStatistics[] } {
  return {
    model_stats: hosts.flatMap((host) => {
      const counts = host.counts?.();
      return counts === undefined ? [] : [modelStatistics(host, counts)];
    }),
  };
}

function registerRepository(app: FastifyInstance, repository: Repository): void {
  endpoint(app, "POST", "/v2/repository/index", async (request): Promise<readonly IndexRow[]> => {
    const ready = fieldsOf(request).get("ready");
    if (ready !== undefined && typeof ready !== "boolean") {
      throw new RequestError(400, "invalid", "ready: is neither true nor false");
    }
    return indexRows(repository, { ready: ready === true });
  });
  const path = "/v2/repository/models/:name";
  endpoint(app, "POST", `${path}/load`, async (request) => {
    const parameters = parametersOf(request);
    refuseOverrides(parameters);
    await repository.load(paramsOf(request).name, parameters);
    return {};
  });
  endpoint(app, "POST", `${path}/unload`, async (request) => {
    await repository.unload(paramsOf(request).name, parametersOf(request));
    return {};
  });
}

/** The fields of a body that may be left out. */
function fieldsOf(request: FastifyRequest): ReadonlyMap<string, unknown> {
  const document = documentOf(request);
  if (typeof document !== "object" || document === null || Array.isArray(document)) {
    throw new RequestError(400, "invalid", "the body is no JSON object");
  }
  return new Map(Object.entries(document));
}

function parametersOf(request: FastifyRequest): Parameters {
  const faults: Diagnostic[] = [];
  const parameters = readParameters(fieldsOf(request).get("parameters"), "parameters", faults);
  if (faults.length > 0) throw new RequestError(400, "invalid", sentenceOf(faults));
  return parameters;
}
