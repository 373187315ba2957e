// A browser's way in: a page where a token is pasted, and a cookie that only this server is sent and that no
// script can read. It holds the token itself, so that a token which is revoked ends with it.

import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { RequestError } from "../errors.ts";
import { endpoints } from "../http/endpoint.ts";
import type { Guard } from "./guard.ts";

/** The prefix binds it to this host, and to TLS (RFC 6265bis, 4.1.3.2). */
const COOKIE = "__Host-skipway";
const ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Strict";
/** A working week; the token may end before. */
const COOKIE_SECONDS = 604_800;
const PAGE_POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/** The token in a header Cookie. */
export function cookieOf(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const pairs = header.split(";").map((pair) => pair.trim());
  const found = pairs.find((pair) => pair.startsWith(`${COOKIE}=`));
  return found?.slice(COOKIE.length + 1);
}

/** Whether a person looks at the answer. */
export function wantsPage({ method, headers }: FastifyRequest): boolean {
  return method === "GET" && (headers.accept ?? "").includes("text/html");
}

/** Adds `/login` and `/logout`. */
export function registerLogin(app: FastifyInstance, guard: Guard): void {
  endpoints(app, "/login", {
    GET: (_request, reply) => sendLogin(reply),
    POST: async (request, reply) => {
      refusePlain(guard, request);
      const token = new URLSearchParams(String(request.body ?? "")).get("token")?.trim() ?? "";
      if ((await guard.identify(token)) === undefined) {
        return sendLogin(reply.code(401), "This token is unknown, has expired or was revoked.");
      }
      const cookie = `${COOKIE}=${token}; Max-Age=${COOKIE_SECONDS}; ${ATTRIBUTES}`;
      return reply.header("set-cookie", cookie).redirect("/", 303);
    },
  });
  endpoints(app, "/logout", {
    POST: (_request, reply) =>
      reply.header("set-cookie", `${COOKIE}=; Max-Age=0; ${ATTRIBUTES}`).redirect("/login", 303),
  });
}

/** A token that is typed into a page must not travel in the clear. */
function refusePlain({ reach }: Guard, request: FastifyRequest): void {
  const encrypted = "encrypted" in request.socket && request.socket.encrypted === true;
  const throughProxy = reach !== "loopback" && request.headers["x-forwarded-proto"] === "https";
  if (encrypted || throughProxy || reach === "loopback") return;
  throw new RequestError(403, "unauthorized", "a token is only taken over TLS");
}

/** Answers with the page that asks for a token. */
export async function sendLogin(reply: FastifyReply, fault = ""): Promise<void> {
  await reply
    .header("content-security-policy", PAGE_POLICY)
    // The form's own request must carry its origin.
    .header("referrer-policy", "same-origin")
    .type("text/html; charset=utf-8")
    .send(page(fault));
}

function page(fault: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>skipway: sign in</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 32rem; margin: 15vh auto 0; padding: 0 1rem; }
input, button { font: inherit; padding: 0.4rem 0.6rem; }
input { width: 100%; box-sizing: border-box; margin: 0.5rem 0 1rem; }
[role="alert"] { color: #b3261e; }
@media (prefers-color-scheme: dark) { body { background: #111; color: #eee; } [role="alert"] { color: #f2b8b5; } }
</style>
</head>
<body>
<main>
<h1>skipway</h1>
${fault === "" ? "" : `<p role="alert">${fault}</p>`}
<form method="post" action="/login">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" autofocus required>
<button>Sign in</button>
</form>
<p><code>skipway token create NAME --role viewer</code> makes one.</p>
</main>
</body>
</html>
`;
}
