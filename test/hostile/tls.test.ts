import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { Agent, request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, type TLSSocket } from "node:tls";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AccessStore } from "../../src/registry/access.ts";
import { newSecret } from "../../src/registry/secret.ts";
import { Certificates, type TlsFiles } from "../../src/serve/http/tls.ts";
import { ModelServer } from "../../src/serve/server.ts";
import { type Authority, authority } from "../certificates.ts";
import { idsOf } from "../contracts/runner.ts";

// TLS over real sockets: who is let in, certificates that are renewed under way, signing in with a browser.

let folder = "";
let ca: Authority;
let access: AccessStore;
let files: TlsFiles;
const servers: ModelServer[] = [];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-tls-"));
  ca = authority();
  access = await AccessStore.open(folder);
  files = { cert: join(folder, "cert.pem"), key: join(folder, "key.pem") };
  await renew("first");
});
afterAll(async () => {
  for (const server of servers) await server.stop();
  await access.close();
  await rm(folder, { recursive: true });
});

async function renew(name: string): Promise<void> {
  const pair = ca.issue(name);
  await writeFile(files.cert, pair.cert);
  await writeFile(files.key, pair.key, { mode: 0o600 });
}

async function start(
  certificates: Certificates,
  host?: string,
): Promise<{ at: string; port: number }> {
  const server = new ModelServer({ version: "1", access, certificates });
  servers.push(server);
  const at = await server.listen({ port: 0, ...(host === undefined ? {} : { host }) });
  return { at, port: Number(new URL(at).port) };
}

interface Answer {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: string;
}

function ask(port: number, path: string, options: object = {}, body?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request({ port, host: "127.0.0.1", path, ca: ca.cert, ...options }, (response) => {
      let text = "";
      response.on("data", (data) => {
        text += data;
      });
      response.once("end", () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }),
      );
    });
    sent.on("error", reject).end(body);
  });
}

test("another machine's address needs TLS and an admin, and then everyone needs a token", async () => {
  const plain = new ModelServer({ version: "1", access });
  const remote = { host: "0.0.0.0", port: 0 };
  expect(await idsOf(plain.listen(remote))).toEqual(["serve/remote-host"]);
  expect(await idsOf(plain.listen({ port: 0, requireToken: true }))).toEqual(["serve/no-token"]);
  const certificates = new Certificates(files);
  const encrypted = new ModelServer({ version: "1", access, certificates });
  expect(await idsOf(encrypted.listen(remote))).toEqual(["serve/remote-host"]);
  await access.tokens.create("root", "admin");
  const viewer = (await access.tokens.create("eyes", "viewer")).secret;
  await new Promise((resolve) => setTimeout(resolve, 600));
  const { port, at } = await start(certificates, "0.0.0.0");
  expect(at).toMatch(/^https:/);
  expect((await ask(port, "/v2/health/live")).status).toBe(200);
  const refused = await ask(port, "/metrics");
  expect(refused).toMatchObject({
    status: 401,
    headers: { "www-authenticate": 'Bearer realm="skipway"' },
  });
  const authorization = `Bearer ${viewer}`;
  expect((await ask(port, "/metrics", { headers: { authorization } })).status).toBe(200);
  await access.tokens.revoke("eyes");
  await new Promise((resolve) => setTimeout(resolve, 1000));
  expect((await ask(port, "/metrics", { headers: { authorization } })).status).toBe(401);
});

test("a browser signs in with a token and stays in by a cookie, from our own pages only", async () => {
  const { port } = await start(new Certificates(files), "0.0.0.0");
  const secret = (await access.tokens.create("person", "viewer")).secret;
  const page = await ask(port, "/", { headers: { accept: "text/html" } });
  expect(page.status).toBe(401);
  expect(page.body).toContain("<form");
  const own = {
    origin: `https://127.0.0.1:${port}`,
    "content-type": "application/x-www-form-urlencoded",
  };
  const login = (token: string, headers: object = own) =>
    ask(port, "/login", { method: "POST", headers }, `token=${token}`);
  expect((await login(newSecret())).status).toBe(401);
  expect((await login(secret, { ...own, origin: "https://evil.example" })).status).toBe(403);
  await new Promise((resolve) => setTimeout(resolve, 600));
  const done = await login(secret);
  expect(done).toMatchObject({ status: 303, headers: { location: "/" } });
  const [set = ""] = [done.headers["set-cookie"] ?? ""].flat();
  for (const word of ["__Host-", "Secure", "HttpOnly", "SameSite=Strict", "Path=/"])
    expect(set).toContain(word);
  const [cookie = ""] = set.split(";");
  expect((await ask(port, "/metrics", { headers: { cookie } })).status).toBe(200);
  const stolen = { cookie, origin: "https://evil.example", "sec-fetch-site": "cross-site" };
  expect((await ask(port, "/metrics", { headers: stolen })).status).toBe(403);
});

test("certificates are renewed without a dropped connection; those that do not fit are not taken", async () => {
  const certificates = new Certificates(files);
  const { port } = await start(certificates);
  const agent = new Agent({ keepAlive: true, maxSockets: 1, ca: ca.cert });
  const names: string[] = [];
  const served = async (): Promise<string> => {
    const socket = await new Promise<TLSSocket>((resolve, reject) => {
      const made = connect({ port, host: "127.0.0.1", ca: ca.cert }, () => resolve(made)).on(
        "error",
        reject,
      );
    });
    const name = String(socket.getPeerCertificate().subject.CN);
    socket.destroy();
    return name;
  };
  const kept = async (): Promise<void> => {
    const { status } = await ask(port, "/v2/health/live", { agent });
    names.push(String(status));
  };
  await kept();
  const told: unknown[] = [];
  certificates.watch((error) => told.push(error), 20);
  await renew("second");
  while (told.at(-1) !== undefined || told.length === 0)
    await new Promise((r) => setTimeout(r, 10));
  expect(await served()).toBe("second");
  await kept();
  await writeFile(files.key, ca.issue("third").key);
  expect(() => certificates.reload()).toThrow(/no certificate and its key/);
  expect(await served()).toBe("second");
  await kept();
  expect(names).toEqual(["200", "200", "200"]);
  certificates.close();
  agent.destroy();
  await renew("last");
});

test("old protocols, plain requests and clients without a certificate are refused", async () => {
  const clientCa = join(folder, "ca.pem");
  await writeFile(clientCa, ca.cert);
  const { port } = await start(new Certificates({ ...files, clientCa }));
  const mine = ca.issue("client");
  expect((await ask(port, "/v2/health/live", mine)).status).toBe(200);
  await expect(ask(port, "/v2/health/live")).rejects.toThrow();
  await expect(ask(port, "/v2/health/live", authority("other").issue("client"))).rejects.toThrow();
  await expect(
    ask(port, "/v2/health/live", { ...mine, maxVersion: "TLSv1.1", minVersion: "TLSv1.1" }),
  ).rejects.toThrow();
  await expect(fetch(`http://127.0.0.1:${port}/v2`)).rejects.toThrow();
  expect((await ask(port, "/v2/health/live", mine)).status).toBe(200);
});

test("a key that others can read is told, files that are none are refused", async () => {
  const loose = { ...files, key: join(folder, "loose.pem") };
  const pair = ca.issue("loose");
  await writeFile(loose.key, pair.key, { mode: 0o644 });
  await writeFile(files.cert, pair.cert);
  expect(new Certificates(loose).keyFindings().map(({ id }) => id)).toEqual(["serve/key-readable"]);
  await renew("last");
  expect(new Certificates(files).keyFindings()).toEqual([]);
  expect(() => new Certificates({ ...files, key: join(folder, "absent.pem") })).toThrow(
    /--tls-key/,
  );
});
