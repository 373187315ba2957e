import { describe, expect, test } from "vitest";
import { ROLES } from "../../registry/tokens.ts";
import { type Asker, decide, type Reach } from "./decide.ts";
import { changesState, grants, type RouteRole } from "./roles.ts";

// The decision over everything that it depends on, against the rules as a person would say them.

const ROUTES: readonly RouteRole[] = ["health", "login", "metadata", ...ROLES];
const REACHES: readonly Reach[] = ["loopback", "tokens", "proxy"];
const own = {
  host: "localhost:8080",
  origin: undefined,
  fetchSite: undefined,
  fetchMode: undefined,
  fetchDest: undefined,
};
const asker: Asker = {
  role: "viewer",
  safe: true,
  secure: false,
  peer: "127.0.0.1",
  credentials: undefined,
  site: own,
};

function statusOf(reach: Reach, fields: Partial<Asker>): number {
  const decision = decide(reach, { ...asker, ...fields });
  return "actor" in decision ? 200 : decision.status;
}

function token(role: (typeof ROLES)[number], from: "header" | "cookie" = "header") {
  return { identity: { name: "t", role }, from };
}

describe("roles", () => {
  test("viewer and infer are apart, deployer has both, admin has all", () => {
    const granted = (role: (typeof ROLES)[number]) => ROUTES.filter((route) => grants(role, route));
    expect(granted("viewer")).toEqual(["health", "login", "metadata", "viewer"]);
    expect(granted("infer")).toEqual(["health", "login", "metadata", "infer"]);
    expect(granted("deployer")).toEqual([
      "health",
      "login",
      "metadata",
      "viewer",
      "infer",
      "deployer",
    ]);
    expect(granted("admin")).toEqual(ROUTES);
    expect(ROUTES.filter(changesState)).toEqual(["deployer", "admin"]);
  });

  test("a token in the header opens what its role grants, however the server is reached and wherever the page is from", () => {
    const foreign = {
      ...own,
      host: "evil.example",
      origin: "https://evil.example",
      fetchSite: "cross-site",
    };
    for (const reach of REACHES) {
      for (const role of ROUTES) {
        for (const held of ROLES) {
          for (const site of [own, foreign, undefined]) {
            const status = statusOf(reach, {
              role,
              credentials: token(held),
              peer: "10.0.0.9",
              ...(site && { site }),
            });
            expect(status, `${reach} ${role} ${held}`).toBe(grants(held, role) ? 200 : 403);
          }
        }
      }
    }
  });
});

describe("without a token", () => {
  test.each<[Reach, string, readonly RouteRole[]]>([
    ["loopback", "127.0.0.1", ROUTES],
    ["loopback", "::1", ROUTES],
    ["loopback", "::ffff:127.0.0.1", ROUTES],
    ["loopback", "10.0.0.9", ["health", "login"]],
    ["loopback", "", ["health", "login"]],
    ["tokens", "127.0.0.1", ["health", "login"]],
    ["proxy", "10.0.0.9", ["health", "login", "metadata", "viewer", "infer"]],
  ])("%s from %s: open are %j", (reach, peer, open) => {
    for (const safe of [true, false]) {
      const found = ROUTES.filter((role) => statusOf(reach, { role, peer, safe }) === 200);
      expect(found).toEqual(open);
      const others = ROUTES.filter((role) => !open.includes(role));
      for (const role of others) expect(statusOf(reach, { role, peer, safe })).toBe(401);
    }
  });

  test("a wrong token opens health alone", () => {
    for (const reach of REACHES) {
      const open = ROUTES.filter((role) => statusOf(reach, { role, credentials: "wrong" }) === 200);
      expect(open).toEqual(["health", "login"]);
    }
  });
});

describe("other sites, on loopback", () => {
  const host = "127.0.0.1:8080";
  test.each<[string, Partial<typeof own> | object, boolean, number]>([
    ["no browser", { host }, false, 200],
    ["own page", { host, origin: `http://${host}`, fetchSite: "same-origin" }, false, 200],
    ["IPv6", { host: "[::1]:8080", origin: "http://[::1]:8080" }, false, 200],
    ["upper case", { host: "LOCALHOST:8080" }, false, 200],
    [
      "typed address",
      { host, fetchSite: "none", fetchMode: "navigate", fetchDest: "document" },
      true,
      200,
    ],
    [
      "link elsewhere",
      { host, fetchSite: "cross-site", fetchMode: "navigate", fetchDest: "document" },
      true,
      200,
    ],
    [
      "form elsewhere",
      {
        host,
        origin: "https://evil.example",
        fetchSite: "cross-site",
        fetchMode: "navigate",
        fetchDest: "document",
      },
      false,
      403,
    ],
    [
      "frame elsewhere",
      { host, fetchSite: "cross-site", fetchMode: "navigate", fetchDest: "iframe" },
      true,
      403,
    ],
    [
      "picture elsewhere",
      { host, fetchSite: "cross-site", fetchMode: "no-cors", fetchDest: "image" },
      true,
      403,
    ],
    ["another port", { host, origin: "http://127.0.0.1:3000", fetchSite: "same-site" }, false, 403],
    ["another scheme", { host, origin: `https://${host}` }, false, 403],
    ["sandbox", { host, origin: "null" }, false, 403],
    ["rebound name", { host: "evil.example:8080" }, true, 403],
    [
      "rebound name, own origin",
      { host: "evil.example", origin: "http://evil.example", fetchSite: "same-origin" },
      false,
      403,
    ],
    ["name that only begins so", { host: "localhost.evil.example" }, true, 403],
    ["no host", { host: undefined }, true, 403],
  ])("%s", (_name, site, safe, status) => {
    for (const role of ROUTES) {
      expect(statusOf("loopback", { role, safe, site: { ...own, ...site } })).toBe(status);
    }
  });
});

describe("a cookie", () => {
  const cookie = token("deployer", "cookie");
  const host = "skipway.example";
  test.each<[string, object, boolean, number]>([
    ["own page", { host, origin: `https://${host}`, fetchSite: "same-origin" }, true, 200],
    ["own page behind a proxy with TLS", { host, origin: `https://${host}` }, false, 200],
    ["another site", { host, origin: "https://evil.example" }, true, 403],
    [
      "another port of the host",
      { host, origin: `https://${host}:444`, fetchSite: "same-site" },
      true,
      403,
    ],
    ["no origin, and the browser says cross-site", { host, fetchSite: "cross-site" }, true, 403],
  ])("%s", (_name, site, secure, status) => {
    for (const reach of ["tokens", "proxy"] as const) {
      const fields = { role: "deployer", safe: false, secure, credentials: cookie } as const;
      expect(statusOf(reach, { ...fields, site: { ...own, ...site } })).toBe(status);
    }
  });

  test("another site cannot sign anybody in", () => {
    const site = { ...own, host, origin: "https://evil.example" };
    for (const reach of REACHES)
      expect(statusOf(reach, { role: "login", safe: false, site })).toBe(403);
  });
});
