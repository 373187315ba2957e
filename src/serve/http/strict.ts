// What is wrong with a request before anything of it is used. Node's parser has refused what is no HTTP;
// this refuses what two programs could read differently, a proxy in front and this server.

import type { IncomingMessage } from "node:http";
import { limits } from "../../base/limits.ts";

/** A fault, with the status that it is answered with. */
export interface HttpFault {
  readonly status: 400 | 414 | 431 | 501 | 505;
  readonly text: string;
}

/** What is looked at of a request. */
export interface RawRequest {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly httpVersion: string;
  /** Names and values in turn, as they came. */
  readonly rawHeaders: readonly string[];
}

const METHODS: ReadonlySet<string> = new Set([
  ...["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"],
]);
/** Headers that decide something: of two of them a proxy may have read the other one. */
const ONCE: ReadonlySet<string> = new Set([
  ...["host", "origin", "authorization", "cookie", "content-length", "content-encoding"],
  ...["transfer-encoding", "expect", "inference-header-content-length", "sec-fetch-site"],
]);

/** The first fault of a request; undefined for one that may be looked at. */
export function httpFault(request: RawRequest): HttpFault | undefined {
  const { method = "", url = "", httpVersion, rawHeaders } = request;
  if (httpVersion !== "1.1" && httpVersion !== "1.0") {
    return { status: 505, text: "this version of HTTP is not known here" };
  }
  if (!METHODS.has(method)) return { status: 501, text: "this method is not known here" };
  return targetFault(url) ?? headersFault(rawHeaders, httpVersion);
}

/** Two of one header are refused where the header decides something. */
function headersFault(rawHeaders: readonly string[], version: string): HttpFault | undefined {
  if (rawHeaders.length > 2 * limits.headersCountMax) {
    return { status: 431, text: `there are more than ${limits.headersCountMax} headers` };
  }
  const seen = new Set<string>();
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] ?? "").toLowerCase();
    if (!ONCE.has(name)) continue;
    if (seen.has(name)) return { status: 400, text: `the header ${name} stands there twice` };
    seen.add(name);
  }
  if (version === "1.1" && !seen.has("host")) {
    return { status: 400, text: "the header Host is missing" };
  }
  return undefined;
}

/**
 * The target as clients send it to a server itself (RFC 9112, 3.2.1). The form for proxies is to be taken as well (3.2.2);
 * it is where it names the host that Host does, so that a proxy in front cannot have read another one.
 */
export function originTarget({
  url = "",
  headers,
}: Pick<IncomingMessage, "url" | "headers">): string {
  if (url.startsWith("/")) return url;
  const [, authority, rest = ""] = /^https?:\/\/([^/?#]+)(.*)$/i.exec(url) ?? [];
  if (authority === undefined || authority.toLowerCase() !== headers.host?.toLowerCase())
    return url;
  return rest.startsWith("/") ? rest : `/${rest}`;
}

/**
 * Only the form that clients send to a server itself (RFC 9112, 3.2.1): a name in the target would stand
 * beside the one in Host. Escapes are read once, by the router, into names that are looked up
 * and never become paths.
 */
function targetFault(url: string): HttpFault | undefined {
  if (url.length > limits.requestTargetCharsMax) {
    return {
      status: 414,
      text: `the address is longer than ${limits.requestTargetCharsMax} characters`,
    };
  }
  if (!url.startsWith("/")) return { status: 400, text: "the address does not begin with a slash" };
  const end = url.search(/[?#]/);
  const path = end < 0 ? url : url.slice(0, end);
  // Node hands bytes on as they came; an address is ASCII (RFC 3986).
  const plain = /^[!-~]*$/.test(url) && !url.includes("\\") && !path.includes("//");
  const escapes = !/%(?![0-9a-f]{2})/i.test(path);
  const dots = /(?:^|\/)(?:\.|%2e){1,2}(?:$|\/)/i.test(path);
  if (plain && escapes && !dots) return undefined;
  return { status: 400, text: "the address is not in its normal form" };
}
