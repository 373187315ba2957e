import { mkdtemp, rm } from "node:fs/promises";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { servingStatus } from "../../src/dashboard/on-call-status.ts";
import { registerDashboard } from "../../src/dashboard/routes.ts";
import { NO_OBJECTIVES } from "../../src/observe/slo.ts";
import { AccessStore } from "../../src/registry/access.ts";
import { newSecret } from "../../src/registry/secret.ts";
import { ROLES } from "../../src/registry/tokens.ts";
import { Rollouts } from "../../src/rollout/controller.ts";
import { MemoryRecords } from "../../src/rollout/memory-records.ts";
import { registerRollouts } from "../../src/rollout/routes.ts";
import type { Reach } from "../../src/serve/auth/decide.ts";
import { routesOf } from "../../src/serve/http/app.ts";
import { endpoint } from "../../src/serve/http/endpoint.ts";
import { ModelServer } from "../../src/serve/server.ts";

// Every route of a real server, with every kind of token, from every place. The table is written here a
// second time on purpose: a route that is new, or whose role has changed, fails until it is thought about.

const MODEL = ["/v2/models/:name", "/v2/models/:name/versions/:version"];
const API = "/api/v1/models/:name/versions/:version";
const EXPECTED: Readonly<Record<string, readonly string[]>> = {
  health: ["GET /v2/health/live", "GET /v2/health/ready"],
  login: ["GET /login", "POST /login", "POST /logout"],
  metadata: [
    ...["GET /v2", "GET /v2/", "GET /v2/models", "GET /v2/models/stats"],
    "POST /v2/repository/index",
    ...MODEL.flatMap((path) =>
      ["", "/ready", "/config", "/stats"].map((end) => `GET ${path}${end}`),
    ),
  ],
  infer: [...MODEL.map((path) => `POST ${path}/infer`), "POST /api/v1/feedback"],
  viewer: [
    ...["GET /metrics", "GET /*", "GET /models/:name/:version", "GET /api/v1/models/:name/split"],
    "GET /on-call",
    ...["overview", "examples", "events", "on-call"].map((end) => `GET /api/v1/${end}`),
    ...["picture.svg", "picture", "training"].map((end) => `GET ${API}/${end}`),
    ...[
      "models/:name/rollout",
      "models/:name/ab",
      "rollouts",
      "rollouts/:id",
      "rollouts/:id/certificate",
      "rollouts/:id/evidence",
    ].map((end) => `GET /api/v1/${end}`),
  ],
  deployer: [
    ...["load", "unload"].map((verb) => `POST /v2/repository/models/:name/${verb}`),
    "PUT /api/v1/models/:name/split",
    "DELETE /api/v1/models/:name/split",
    `POST ${API}/drain`,
    ...["", "/:act"].map((end) => `POST /api/v1/models/:name/rollout${end}`),
  ],
};
const MAY: Readonly<Record<string, readonly string[]>> = {
  viewer: ["health", "login", "metadata", "viewer"],
  infer: ["health", "login", "metadata", "infer"],
  deployer: ["health", "login", "metadata", "viewer", "infer", "deployer"],
  admin: ["health", "login", "metadata", "viewer", "infer", "deployer", "admin"],
};
const OPEN: Readonly<Record<Reach, readonly string[]>> = {
  loopback: Object.keys(EXPECTED),
  tokens: ["health", "login"],
  proxy: ["health", "login", "metadata", "viewer", "infer"],
};

const agent = new Agent({ keepAlive: true, maxSockets: 8 });
const secrets = new Map<string, string>([["wrong", newSecret()]]);
let folder = "";
let access: AccessStore;
let server: ModelServer;
let port = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-routes-"));
  access = await AccessStore.open(folder);
  for (const role of ROLES) secrets.set(role, (await access.tokens.create(role, role)).secret);
  server = new ModelServer({ version: "1", access });
  await registerDashboard(server.app, {
    overview: async () => ({ server: { version: "1", startedMs: 0 }, models: [] }),
    picture: async () => undefined,
    pictureData: async () => undefined,
    training: async () => undefined,
    examples: async () => Promise.reject(new Error("none")),
    version: "1",
    status: () => servingStatus(server),
    objectives: async () => ({ models: {}, fault: null }),
    onState: () => () => undefined,
  });
  registerRollouts(
    server.app,
    new Rollouts({
      fleet: server.fleet,
      records: new MemoryRecords(),
      clock: systemClock,
      nodePool: "default",
      webhooks: [],
      build: "1",
      objectives: async () => NO_OBJECTIVES,
    }),
  );
  // Where there is no repository, what would change it stands in its place.
  const known = new Set(routesOf(server.app).map(({ method, url }) => `${method} ${url}`));
  for (const route of EXPECTED["deployer"] ?? []) {
    if (known.has(route)) continue;
    const [method = "", url = ""] = route.split(" ");
    if (method === "PUT" || method === "POST") endpoint(server.app, method, url, async () => ({}));
  }
  port = Number(new URL(await server.listen({ port: 0 })).port);
});
afterAll(async () => {
  agent.destroy();
  await server.stop();
  await access.close();
  await rm(folder, { recursive: true });
});

/** The status of a request; its body is not waited for. */
function statusOf(route: string, headers: Record<string, string>): Promise<number> {
  const [method = "", pattern = ""] = route.split(" ");
  const path = pattern
    .replace(":name", "m")
    .replace(":version", "1")
    .replace(":act", "abort")
    .replace(":id", "1")
    .replace("*", "nothing.js");
  return new Promise((resolve, reject) => {
    const sent = request({ port, host: "127.0.0.1", method, path, headers, agent }, (response) => {
      resolve(response.statusCode ?? 0);
      if (pattern.endsWith("/events")) response.destroy();
      else response.resume();
    });
    sent.on("error", reject).end(method === "GET" ? undefined : "{}");
  });
}

test("every route is in the table, with the role that it needs", () => {
  const found = routesOf(server.app)
    .filter(({ method }) => method !== "HEAD")
    .map(({ method, url }) => `${method} ${url}`);
  const listed = new Set(Object.values(EXPECTED).flat());
  expect(found.filter((route) => !listed.has(route))).toEqual([]);
  expect(found.length).toBeGreaterThan(20);
});

test("what changes state is written down, refused attempts too, and the record is whole", async () => {
  server.guard.open("tokens");
  const route = "POST /v2/repository/models/:name/load";
  await statusOf(route, { authorization: `Bearer ${secrets.get("deployer")}` });
  await statusOf(route, { authorization: `Bearer ${secrets.get("viewer")}` });
  const [done, refused] = await access.audit.list(2);
  expect(done).toMatchObject({
    actor: "deployer",
    action: "POST /v2/repository/models/m/load",
    // There is no such model: that somebody tried is written down all the same.
    result: "404",
  });
  expect(refused).toMatchObject({
    result: "403",
    details: { role: "deployer", peer: "127.0.0.1" },
  });
  expect(await access.audit.verify()).not.toHaveProperty("broken");
});

test.each<Reach>(["loopback", "tokens", "proxy"])(
  "every route with every token from everywhere: %s",
  async (reach) => {
    server.guard.open(reach);
    const sites = {
      own: {},
      "foreign host": { host: "evil.example" },
      "foreign origin": { origin: "https://evil.example" },
    };
    const wrong: string[] = [];
    const served = new Set(routesOf(server.app).map(({ method, url }) => `${method} ${url}`));
    const checks = Object.entries(EXPECTED).flatMap(([role, all]) =>
      all
        .filter((route) => served.has(route))
        .flatMap((route) =>
          ["none", "wrong", ...ROLES].flatMap((who) =>
            Object.entries(sites).map(async ([site, headers]) => {
              const secret = secrets.get(who);
              const auth = secret === undefined ? {} : { authorization: `Bearer ${secret}` };
              // As through a proxy with TLS: a token is not typed into a plain page.
              const secure = role === "login" ? { "x-forwarded-proto": "https" } : {};
              const status = await statusOf(route, { ...headers, ...auth, ...secure });
              const expected = judged(reach, { role, who, site });
              const entered = ![401, 403].includes(status);
              // The page where one signs in says 401 to a wrong token in its form.
              const answered =
                route === "POST /login" && status === 401 ? 200 : entered ? 200 : status;
              if (answered !== expected)
                wrong.push(`${route} ${who} ${site}: ${status}, not ${expected}`);
            }),
          ),
        ),
    );
    await Promise.all(checks);
    expect(wrong).toEqual([]);
  },
  60_000,
);

/** 200 for whoever comes in. */
function judged(
  reach: Reach,
  { role, who, site }: { role: string; who: string; site: string },
): number {
  if (MAY[who] !== undefined) return MAY[who].includes(role) ? 200 : 403;
  if (who === "wrong" && !["health", "login"].includes(role)) return 401;
  if (reach === "loopback" && site !== "own") return 403;
  if (role === "login" && site === "foreign origin") return 403;
  return OPEN[reach].includes(role) ? 200 : 401;
}
