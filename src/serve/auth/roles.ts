// Which route needs what. One table for HTTP and one for gRPC, so that a page of them shows all that is open;
// a route that is in neither needs an admin.

import type { Role } from "../../registry/tokens.ts";

/**
 * What a route is, for who may use it: `health` and `login` are for everyone; `metadata` for who looks and
 * for who asks; the others carry the name of the least role that may.
 */
export type RouteRole = "health" | "login" | "metadata" | Role;

/**
 * What a role may use. `viewer` and `infer` are no steps of one ladder: a program that asks models has no
 * business with the traffic of others, and who looks on costs no computing time.
 */
const GRANTS: Readonly<Record<Role, ReadonlySet<RouteRole>>> = {
  viewer: new Set(["health", "login", "metadata", "viewer"]),
  infer: new Set(["health", "login", "metadata", "infer"]),
  deployer: new Set(["health", "login", "metadata", "viewer", "infer", "deployer"]),
  admin: new Set(["health", "login", "metadata", "viewer", "infer", "deployer", "admin"]),
};

/** Whether a token of this role may use such a route. */
export function grants(role: Role, route: RouteRole): boolean {
  return GRANTS[role].has(route);
}

/** Whether such a route changes what is served: its use is written down. */
export function changesState(route: RouteRole): boolean {
  return route === "deployer" || route === "admin";
}

const MODEL = "/v2/models/:name";
const VERSION = `${MODEL}/versions/:version`;

function ofModel(ending: string, method: string, role: RouteRole): [string, RouteRole][] {
  return [MODEL, VERSION].map((path) => [`${method} ${path}${ending}`, role]);
}

const HTTP: ReadonlyMap<string, RouteRole> = new Map<string, RouteRole>([
  ["GET /v2/health/live", "health"],
  ["GET /v2/health/ready", "health"],
  ["GET /login", "login"],
  ["POST /login", "login"],
  ["POST /logout", "login"],
  ["GET /v2", "metadata"],
  ["GET /v2/", "metadata"],
  ["GET /v2/models", "metadata"],
  ["GET /v2/models/stats", "metadata"],
  ["POST /v2/repository/index", "metadata"],
  ...ofModel("", "GET", "metadata"),
  ...ofModel("/ready", "GET", "metadata"),
  ...ofModel("/config", "GET", "metadata"),
  ...ofModel("/stats", "GET", "metadata"),
  ...ofModel("/infer", "POST", "infer"),
  ["POST /v2/repository/models/:name/load", "deployer"],
  ["POST /v2/repository/models/:name/unload", "deployer"],
  ["GET /metrics", "viewer"],
  ["GET /api/v1/overview", "viewer"],
  ["GET /api/v1/examples", "viewer"],
  ["GET /api/v1/events", "viewer"],
  ["GET /api/v1/on-call", "viewer"],
  ["GET /api/v1/models/:name/versions/:version/picture.svg", "viewer"],
  ["GET /api/v1/models/:name/versions/:version/picture", "viewer"],
  ["GET /api/v1/models/:name/versions/:version/training", "viewer"],
  ["GET /api/v1/models/:name/split", "viewer"],
  ["PUT /api/v1/models/:name/split", "deployer"],
  ["DELETE /api/v1/models/:name/split", "deployer"],
  ["POST /api/v1/models/:name/versions/:version/drain", "deployer"],
  ["GET /api/v1/models/:name/rollout", "viewer"],
  ["POST /api/v1/models/:name/rollout", "deployer"],
  ["POST /api/v1/models/:name/rollout/:act", "deployer"],
  ["GET /api/v1/models/:name/ab", "viewer"],
  ["POST /api/v1/feedback", "infer"],
  ["GET /api/v1/rollouts", "viewer"],
  ["GET /api/v1/rollouts/:id", "viewer"],
  ["GET /api/v1/rollouts/:id/certificate", "viewer"],
  ["GET /api/v1/rollouts/:id/evidence", "viewer"],
  ["GET /models/:name/:version", "viewer"],
  ["GET /on-call", "viewer"],
  ["GET /*", "viewer"],
]);

const OIP = "/inference.GRPCInferenceService/";
/** Who asks for it learns that it is not offered. */
const SHARED_MEMORY = ["System", "Cuda"].flatMap((kind) =>
  ["Status", "Register", "Unregister"].map((act) => `${OIP}${kind}SharedMemory${act}`),
);
const GRPC: ReadonlyMap<string, RouteRole> = new Map<string, RouteRole>([
  [`${OIP}ServerLive`, "health"],
  [`${OIP}ServerReady`, "health"],
  ["/grpc.health.v1.Health/Check", "health"],
  ["/grpc.health.v1.Health/Watch", "health"],
  [`${OIP}ModelReady`, "metadata"],
  [`${OIP}ServerMetadata`, "metadata"],
  [`${OIP}ModelMetadata`, "metadata"],
  [`${OIP}ModelConfig`, "metadata"],
  [`${OIP}ModelStatistics`, "metadata"],
  [`${OIP}RepositoryIndex`, "metadata"],
  ["/inference.model_repository.ModelRepositoryService/RepositoryIndex", "metadata"],
  // Not offered: whoever may look is told so.
  ...["System", "Cuda"].flatMap((kind) =>
    ["Status", "Register", "Unregister"].map(
      (act) => [`${OIP}${kind}SharedMemory${act}`, "metadata"] as const,
    ),
  ),
  [`${OIP}ModelInfer`, "infer"],
  [`${OIP}ModelStreamInfer`, "infer"],
  ...SHARED_MEMORY.map((path): [string, RouteRole] => [path, "metadata"]),
  [`${OIP}RepositoryModelLoad`, "deployer"],
  [`${OIP}RepositoryModelUnload`, "deployer"],
  ["/inference.model_repository.ModelRepositoryService/RepositoryModelLoad", "deployer"],
  ["/inference.model_repository.ModelRepositoryService/RepositoryModelUnload", "deployer"],
]);

/** What a route of HTTP is, by method and pattern; undefined where nobody said so. HEAD is as GET. */
export function httpRole(method: string, pattern: string): RouteRole | undefined {
  return HTTP.get(`${method === "HEAD" ? "GET" : method} ${pattern}`);
}

/** What a method of gRPC is, by its full path; undefined where nobody said so. */
export function grpcRole(method: string): RouteRole | undefined {
  return GRPC.get(method);
}
