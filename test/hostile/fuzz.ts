// Requests that are nearly right, many of them, against a real server: each must be answered or cut off within
// a second, with no defect of the server, and a right request beside them must stay right.

import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { systemClock } from "../../src/base/clock.ts";
import type { Random } from "../../src/base/random.ts";
import { GOOD, INFER, requestText, type Target, Wire } from "./harness.ts";

/** What came of it. */
export interface FuzzReport {
  readonly count: number;
  /** How often each status came; `none` for a connection that was cut off. */
  readonly statuses: Readonly<Record<string, number>>;
  readonly slowestMs: number;
  readonly failures: readonly string[];
}

/** What takes longer hangs. */
export const HANG_MS = 1000;
export const AT_ONCE = 16;
/** How often what took too long is asked again. */
export const AGAIN_MAX = 4;
/** A right request after so many others. */
export const CHECKED = 50;
export const FAILURES_SHOWN = 20;
/** What parsers trip over. */
const PIECES = [
  ...["\r\n", "\n", "\0", "[", "]", "{", "}", ",", ":", '"', "\\", "-1", "1e999", "null", "true"],
  ...["9007199254740993", "\ud800", "\\ud800", "__proto__", "FP16", "BYTES", "chunked", "gzip"],
  ...["Content-Length: 1\r\n", "Transfer-Encoding: chunked\r\n", "Expect: 100-continue\r\n"],
  ...[
    "Inference-Header-Content-Length: 5\r\n",
    "%2e%2e",
    "/../",
    "[[[[[[[[",
    "18446744073709551616",
  ],
];

/** Right requests, as JSON, binary, compressed, in chunks, and those without a body. */
function seeds(): Buffer[] {
  const post = `POST ${INFER} HTTP/1.1`;
  const head = JSON.stringify({
    inputs: [{ name: "x", shape: [1, 3], datatype: "FP32", parameters: { binary_data_size: 12 } }],
  });
  const values = Buffer.from(new Float32Array([1, 2, 3]).buffer);
  const raw = (headers: readonly string[], ...body: readonly Uint8Array[]): Buffer => {
    const whole = Buffer.concat(body);
    const text = requestText(post, [`Content-Length: ${whole.length}`, ...headers]);
    return Buffer.concat([Buffer.from(text), whole]);
  };
  return [
    Buffer.from(requestText(post, [], GOOD)),
    raw([`Inference-Header-Content-Length: ${head.length}`], Buffer.from(head), values),
    raw(["Inference-Header-Content-Length: 0"], values),
    raw(["Content-Encoding: gzip"], gzipSync(GOOD)),
    Buffer.from(
      `${post}\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n${GOOD.length.toString(16)}\r\n${GOOD}\r\n0\r\n\r\n`,
    ),
    Buffer.from(requestText("GET /v2/models/affine HTTP/1.1", ["Accept: application/json"])),
    Buffer.from(requestText("GET /metrics?x=%20 HTTP/1.1", ["Origin: http://localhost"])),
    Buffer.from(requestText("POST /v2/repository/index HTTP/1.1", [], '{"ready": true}')),
  ];
}

type Mutation = (bytes: Buffer, random: Random, other: Buffer) => Buffer;

const MUTATIONS: readonly Mutation[] = [
  (bytes, random) => {
    const copy = Buffer.from(bytes);
    for (let i = 1 + random.integer(4); i > 0; i--) {
      copy[random.integer(copy.length)] = random.integer(256);
    }
    return copy;
  },
  (bytes, random) => bytes.subarray(0, random.integer(bytes.length)),
  (bytes, random) => {
    const piece = Buffer.from(PIECES[random.integer(PIECES.length)] ?? "");
    const at = random.integer(bytes.length);
    return Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at)]);
  },
  (bytes, random) => {
    const from = random.integer(bytes.length);
    const to = from + random.integer(Math.min(64, bytes.length - from) + 1);
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]);
  },
  (bytes, random) => {
    const from = random.integer(bytes.length);
    const part = bytes.subarray(from, from + 1 + random.integer(200));
    return Buffer.concat([bytes, ...Array.from({ length: random.integer(20) }, () => part)]);
  },
  (bytes, random, other) => {
    const at = random.integer(bytes.length);
    return Buffer.concat([bytes.subarray(0, at), other.subarray(random.integer(other.length))]);
  },
  // Another number in the place of one: lengths, shapes, versions.
  (bytes, random) => {
    const numbers = ["0", "-1", "2", "4294967296", "99999999999999999999", "1e9", ""];
    const text = bytes.toString("latin1");
    const places = [...text.matchAll(/\d+/g)];
    const place = places[random.integer(places.length)];
    if (place === undefined) return bytes;
    const number = numbers[random.integer(numbers.length)] ?? "";
    const after = text.slice(place.index + place[0].length);
    return Buffer.from(text.slice(0, place.index) + number + after, "latin1");
  },
];

/** One to three changes. */
export function mutatedBytes(bytes: Buffer, random: Random, other: Buffer): Buffer {
  let found = bytes;
  // Mostly once: what is wrong in three places is refused for the first.
  for (let i = Math.max(1, random.integer(4) - 1); i > 0 && found.length > 0; i--) {
    found = MUTATIONS[random.integer(MUTATIONS.length)]?.(found, random, other) ?? found;
  }
  return found;
}

/** Half of them anywhere, half in the body alone, whose length is right: those reach what reads tensors. */
function mutated(bytes: Buffer, random: Random, other: Buffer): Buffer {
  const end = bytes.indexOf("\r\n\r\n");
  const head = bytes.toString("latin1", 0, end);
  if (random.integer(2) === 0 || !/Content-Length/.test(head)) {
    return mutatedBytes(bytes, random, other);
  }
  const body = mutatedBytes(bytes.subarray(end + 4), random, other);
  const length = head.replace(/\r\nContent-Length: \d+/, `\r\nContent-Length: ${body.length}`);
  return Buffer.concat([Buffer.from(`${length}\r\n\r\n`, "latin1"), body]);
}

/** Longer each time, 1 s to 8 s: other work may have the machine for seconds. */
export function pauseBefore(again: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, HANG_MS * 2 ** again));
}

/** Sends mutated requests, several at a time. */
export async function fuzzWire(target: Target, count: number, random: Random): Promise<FuzzReport> {
  const right = seeds();
  const statuses: Record<string, number> = {};
  const failures: string[] = [];
  let slowestMs = 0;
  let next = 0;
  const pick = (): Buffer => right[random.integer(right.length)] ?? Buffer.alloc(1);
  const one = async (): Promise<void> => {
    const bytes = mutated(pick(), random, pick());
    let { text, ms } = await timed(target, bytes);
    // On a machine that does other work too, a pause is no hang: what hangs does so each time.
    for (let again = 0; again < AGAIN_MAX && ms > HANG_MS; again++) {
      await pauseBefore(again);
      ({ text, ms } = await timed(target, bytes));
    }
    slowestMs = Math.max(slowestMs, ms);
    const status = /^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? "none";
    statuses[status] = (statuses[status] ?? 0) + 1;
    if (ms > HANG_MS || /HTTP\/1\.1 50[02]/.test(text)) {
      const shown = JSON.stringify(bytes.toString("latin1").slice(0, 1000));
      failures.push(`${status} after ${Math.round(ms)} ms: ${shown}`);
    }
  };
  const worker = async (): Promise<void> => {
    while (next < count && failures.length < FAILURES_SHOWN) {
      next++;
      if (next % CHECKED === 0) await staysRight(target, failures);
      await one();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return { count: next, statuses, slowestMs, failures };
}

/**
 * Milliseconds but for those in which this thread, which has both sides, was ready to run and other work had the
 * processors. Where the system does not tell, all of them.
 */
export function ownMs(): number {
  return systemClock.monotonicMs() - waitedMs();
}

/** The second number of schedstat, in nanoseconds (Linux, sched-stats.rst). */
function waitedMs(): number {
  try {
    return Number(readFileSync("/proc/self/schedstat", "latin1").split(" ")[1]) / 1e6;
  } catch {
    return 0;
  }
}

/** What a request that ends its side is answered, and in what time. */
async function timed(target: Target, bytes: Buffer): Promise<{ text: string; ms: number }> {
  const from = ownMs();
  const wire = new Wire(target.port);
  wire.socket.end(bytes);
  const text = await wire.closed;
  return { text, ms: ownMs() - from };
}

async function staysRight(target: Target, failures: string[]): Promise<void> {
  const response = await fetch(target.at + INFER, { method: "POST", body: GOOD });
  const text = await response.text();
  if (response.status !== 200 || !/"data":\s*\[3,5,7\]/.test(text)) {
    failures.push(`a right request was answered with ${response.status} ${text.slice(0, 300)}`);
  }
}
