// Where events are sent to: endpoints that the operator wrote into the data folder, never ones that a request
// named. Signed as the Standard Webhooks specification says (v1: HMAC-SHA256 over id, time and body).

import { createHmac } from "node:crypto";
import { lookup } from "node:dns";
import { readFile, stat } from "node:fs/promises";
import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { BlockList, isIP, type LookupFunction } from "node:net";
import { diagnostic } from "../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import { Fields } from "./fields.ts";

/** An endpoint that is told of events. */
export interface Webhook {
  readonly name: string;
  readonly url: URL;
  /** Which secret signed: a receiver has two while they are exchanged. */
  readonly keyId: string;
  readonly secret: string;
  /** Whether it may lie in a network of one's own. */
  readonly privateNetwork: boolean;
}

const BYTES_MAX = 1_048_576;
const WEBHOOKS_MAX = 20;
const TEXT_MAX = 2048;
const SECRET_CHARS_MIN = 16;
const TIMEOUT_MS = 5000;

/**
 * The webhooks in `webhooks.json`, in the form
 * `{"webhooks": [{"name": "pager", "url": "https://…", "keyId": "1", "secret": "…", "privateNetwork": false}]}`;
 * none where there is no such file.
 *
 * @throws SkipwayError `input` with every fault.
 */
export async function readWebhooks(path: string): Promise<readonly Webhook[]> {
  let text: string;
  try {
    if ((await stat(path)).size > BYTES_MAX)
      throw invalid(path, [`is larger than ${BYTES_MAX} bytes`]);
    text = await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error instanceof SkipwayError ? error : invalid(path, [messageOf(error)]);
  }
  return parseWebhooks(text, path);
}

/** @throws SkipwayError `input` with every fault. */
export function parseWebhooks(text: string, where: string): readonly Webhook[] {
  const faults: string[] = [];
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    // The parser's message may quote what stands there: secrets.
    throw invalid(where, ["is no JSON"]);
  }
  const fields = new Fields(document, "", faults);
  const list = fields.list("webhooks", WEBHOOKS_MAX) ?? [];
  fields.end();
  const webhooks = list.flatMap((one, i) => webhookOf(one, `webhooks[${i}]`, faults) ?? []);
  const names = webhooks.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice !== undefined) faults.push(`two webhooks are named ${twice}`);
  if (faults.length > 0) throw invalid(where, faults);
  return webhooks;
}

function webhookOf(value: unknown, where: string, faults: string[]): Webhook | undefined {
  const before = faults.length;
  const fields = new Fields(value, `${where}.`, faults);
  const name = fields.text("name", 64);
  const address = fields.text("url", TEXT_MAX);
  const keyId = fields.text("keyId", 64) ?? "1";
  const secret = fields.text("secret", TEXT_MAX);
  const privateNetwork = fields.boolean("privateNetwork") ?? false;
  fields.end();
  const url = URL.canParse(address ?? "") ? new URL(address ?? "") : undefined;
  if (name === undefined || !/^[\w.-]+$/.test(name)) fields.fault("name", "is missing, or no name");
  if (!/^[\w.-]+$/.test(keyId)) fields.fault("keyId", "is letters, digits, dots and hyphens");
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    fields.fault("url", "is no address such as https://HOST/PATH");
  } else if (url.username !== "" || url.password !== "") {
    fields.fault("url", "has a password in it: the signature says who sends");
  }
  if (secret === undefined || secret.length < SECRET_CHARS_MIN) {
    fields.fault("secret", `is missing, or shorter than ${SECRET_CHARS_MIN} characters`);
  }
  if (faults.length > before || name === undefined || url === undefined || secret === undefined) {
    return undefined;
  }
  return { name, url, keyId, secret, privateNetwork };
}

function invalid(where: string, faults: readonly string[]): SkipwayError {
  return SkipwayError.fromDiagnostics(
    "input",
    faults.map((text) =>
      diagnostic({
        id: "rollout/webhooks",
        severity: "error",
        where,
        text,
        fix: "docs/guide/rollout.md has the form of the file.",
      }),
    ),
  );
}

/** The headers that a receiver checks. @param atMs of the sending, since the epoch. */
export function signed(
  { keyId, secret }: Pick<Webhook, "keyId" | "secret">,
  id: string,
  body: string,
  atMs: number,
): Readonly<Record<string, string>> {
  const seconds = Math.floor(atMs / 1000);
  const mac = createHmac("sha256", secret).update(`${id}.${seconds}.${body}`).digest("base64");
  return {
    "webhook-id": id,
    "webhook-timestamp": String(seconds),
    "webhook-signature": `v1,${mac}`,
    "webhook-key-id": keyId,
  };
}

/**
 * Sends one event.
 *
 * @throws SkipwayError `environment` with why, where it was not taken: no answer of the kind 2xx in time. Without its
 * address: pages show it to whoever may look.
 */
export function send(webhook: Webhook, id: string, body: string, atMs: number): Promise<void> {
  const { url, privateNetwork } = webhook;
  const host = url.hostname.replace(/^\[|\]$/g, "");
  return new Promise((resolve, reject) => {
    const refuse = (text: string, cause?: unknown): void => {
      reject(new SkipwayError("environment", text, { cause }));
    };
    if (!privateNetwork && isIP(host) !== 0 && isPrivate(host)) {
      refuse(PRIVATE);
      return;
    }
    const late = AbortSignal.timeout(TIMEOUT_MS);
    const begin = url.protocol === "https:" ? requestHttps : requestHttp;
    const request = begin(url, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "content-length": Buffer.byteLength(body),
        ...signed(webhook, id, body, atMs),
      },
      agent: false,
      signal: late,
      ...(!privateNetwork && { lookup: publicOnly }),
    });
    request.once("error", (error) => refuse(whyNot(error, late), error));
    request.once("response", (answer) => {
      // What it says is of no matter, and redirections would lead anywhere.
      answer.destroy();
      const { statusCode = 0 } = answer;
      if (statusCode >= 200 && statusCode < 300) resolve();
      else refuse(`it answers ${statusCode}${isRedirection(statusCode) ? NOT_FOLLOWED : ""}`);
    });
    request.end(body);
  });
}

const NOT_FOLLOWED = ", and redirections are not followed";

function isRedirection(status: number): boolean {
  return status >= 300 && status < 400;
}

/** Messages of the system have the address in them. */
function whyNot(error: Error, late: AbortSignal): string {
  if (late.aborted) return `it gives no answer within ${TIMEOUT_MS / 1000} s`;
  if (error instanceof SkipwayError) return error.message;
  const code = "code" in error ? String(error.code) : "";
  return code === "" ? "it cannot be reached" : `it cannot be reached (${code})`;
}

const PRIVATE =
  'its address lies in a private network; say "privateNetwork": true if that is meant';

/** Looks a name up and connects to nothing else: a second look could find another address. */
const publicOnly: LookupFunction = (host, options, callback) => {
  lookup(host, { ...options, all: true }, (error, addresses) => {
    const first = addresses?.find(({ address }) => !isPrivate(address));
    if (error !== null) callback(error, "", 0);
    else if (first === undefined || addresses.some(({ address }) => isPrivate(address))) {
      callback(new SkipwayError("environment", PRIVATE), "", 0);
    } else if (options.all === true) callback(null, [first]);
    else callback(null, first.address, first.family);
  });
};

const LISTED: readonly (readonly [network: string, bits: number, family: "ipv4" | "ipv6"])[] = [
  ["0.0.0.0", 8, "ipv4"],
  ["10.0.0.0", 8, "ipv4"],
  ["100.64.0.0", 10, "ipv4"],
  ["127.0.0.0", 8, "ipv4"],
  ["169.254.0.0", 16, "ipv4"],
  ["172.16.0.0", 12, "ipv4"],
  ["192.0.0.0", 24, "ipv4"],
  ["192.168.0.0", 16, "ipv4"],
  ["198.18.0.0", 15, "ipv4"],
  ["224.0.0.0", 3, "ipv4"],
  ["::", 127, "ipv6"],
  // Mapped and translated addresses of the old family.
  ["::ffff:0:0", 96, "ipv6"],
  ["64:ff9b::", 16, "ipv6"],
  ["2002::", 16, "ipv6"],
  ["fc00::", 7, "ipv6"],
  ["fe80::", 10, "ipv6"],
  ["ff00::", 8, "ipv6"],
];

/** One list for each family: in one, every address of the old one would be a mapped one of the new. */
let privates: { readonly ipv4: BlockList; readonly ipv6: BlockList } | undefined;

/** Whether an address is of no public network (IANA's registries of special-purpose addresses). */
export function isPrivate(address: string): boolean {
  if (privates === undefined) {
    privates = { ipv4: new BlockList(), ipv6: new BlockList() };
    for (const one of LISTED) privates[one[2]].addSubnet(...one);
  }
  const family = isIP(address);
  if (family === 0) return true;
  const name = family === 6 ? "ipv6" : "ipv4";
  return privates[name].check(address, name);
}
