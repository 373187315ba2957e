// Who may do what: the one decision for HTTP, gRPC, the stream of events, the metrics and the pages. A pure
// function of what the server was told, and of what a request shows.

import type { Identity } from "../../registry/token-view.ts";
import { grants, type RouteRole } from "./roles.ts";

/**
 * How a server is reached. `loopback`: from this machine, whose users are trusted and whose browsers are not.
 * `tokens`: whoever it is shows a token. `proxy`: one in front decides who may ask and look; what changes
 * state needs a token all the same.
 */
export type Reach = "loopback" | "tokens" | "proxy";

/** What a request shows of who sends it. */
export interface Asker {
  readonly role: RouteRole;
  /** GET or HEAD. gRPC has no safe methods. */
  readonly safe: boolean;
  /** Over TLS. */
  readonly secure: boolean;
  /** Address of the other end of the connection. */
  readonly peer: string;
  /** Whose token came with it: `wrong` for one that is not, or no longer, valid. */
  readonly credentials: Credentials | "wrong" | undefined;
  /** Headers of HTTP; undefined for gRPC, which no page of a browser can speak. */
  readonly site?: Site | undefined;
}

/** A token that came with a request. A cookie is sent by the browser, whoever made it ask. */
export interface Credentials {
  readonly identity: Identity;
  readonly from: "header" | "cookie";
}

/** What a browser says of the page that made it ask (RFC 6454; W3C Fetch Metadata). */
export interface Site {
  readonly host: string | undefined;
  readonly origin: string | undefined;
  readonly fetchSite: string | undefined;
  readonly fetchMode: string | undefined;
  readonly fetchDest: string | undefined;
}

/** The answer: in, under which name, or not. */
export type Decision =
  | { readonly actor: string }
  | { readonly status: 401 | 403; readonly text: string };

/** Names of this machine that no other reaches. */
export const LOOPBACK: ReadonlySet<string> = new Set(["127.0.0.1", "localhost", "::1"]);

const FOREIGN =
  "requests from other sites, or without a Host, are refused: use http://127.0.0.1 or http://localhost, or send a token";
const NO_TOKEN = "this needs a token: send the header Authorization: Bearer skw_…";
const WRONG_TOKEN = "the token is not valid: it is unknown, has expired or was revoked";

/** Decides about one request. */
export function decide(reach: Reach, asker: Asker): Decision {
  const { role, credentials } = asker;
  if (credentials === "wrong" && role !== "health" && role !== "login") {
    return { status: 401, text: WRONG_TOKEN };
  }
  const token = credentials === "wrong" ? undefined : credentials;
  // What no page can send by itself needs no question about pages.
  if (token?.from !== "header" && isForeign(reach, asker, token !== undefined)) {
    return { status: 403, text: FOREIGN };
  }
  if (token !== undefined) {
    const { name, role: held } = token.identity;
    if (grants(held, role)) return { actor: name };
    return { status: 403, text: `the token's role is ${held}, and this needs ${needed(role)}` };
  }
  return withoutToken(reach, asker);
}

function withoutToken(reach: Reach, { role, peer }: Asker): Decision {
  if (role === "health" || role === "login") return { actor: "anyone" };
  if (reach === "loopback" && isLoopbackPeer(peer)) return { actor: "loopback" };
  const open = role === "metadata" || role === "viewer" || role === "infer";
  if (reach === "proxy" && open) return { actor: "proxy" };
  return { status: 401, text: NO_TOKEN };
}

/** The least role that may use such a route, as a person reads it. */
function needed(role: RouteRole): string {
  return role === "metadata" ? "viewer or infer" : role;
}

/**
 * Whether a page of another site may have made a browser send this. On loopback a foreign name in Host is
 * one too (DNS rebinding): the page's own name, made to point here.
 */
function isForeign(reach: Reach, asker: Asker, cookie: boolean): boolean {
  const { site, safe, secure, role } = asker;
  if (site === undefined) return false;
  const rebound = reach === "loopback" && !LOOPBACK.has(nameOf(site.host));
  if (reach !== "loopback" && !cookie && role !== "login") return false;
  return rebound || !isOwnOrigin(site, secure, reach) || isForeignFetch(site, safe);
}

function isOwnOrigin({ origin, host }: Site, secure: boolean, reach: Reach): boolean {
  if (origin === undefined) return true;
  if (host === undefined) return false;
  if (origin === `${secure ? "https" : "http"}://${host}`) return true;
  // A proxy in front has the TLS.
  return reach !== "loopback" && origin === `https://${host}`;
}

/** A link on another site may lead to a page here; nothing else of another site may ask. */
function isForeignFetch({ fetchSite, fetchMode, fetchDest }: Site, safe: boolean): boolean {
  if (fetchSite === undefined || fetchSite === "same-origin" || fetchSite === "none") return false;
  return !(safe && fetchMode === "navigate" && fetchDest === "document");
}

/** The host without its port, in lower case. */
function nameOf(host: string | undefined): string {
  return (host ?? "")
    .replace(/:\d+$/, "")
    .replace(/^\[(.*)\]$/, "$1")
    .toLowerCase();
}

function isLoopbackPeer(peer: string): boolean {
  return peer === "::1" || /^(::ffff:)?127\./.test(peer);
}
