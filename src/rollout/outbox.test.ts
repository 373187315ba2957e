import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { MemoryRecords } from "./memory-records.ts";
import { Outbox, pauseAfter } from "./outbox.ts";
import { isPrivate, parseWebhooks, send, type Webhook } from "./webhooks.ts";

const SECRET = "0123456789abcdef";

function webhook(name: string, url: string, privateNetwork = true): Webhook {
  return { name, url: new URL(url), keyId: "k1", secret: SECRET, privateNetwork };
}

async function receiver(): Promise<{
  readonly url: string;
  readonly got: { readonly headers: NodeJS.Dict<string | string[]>; readonly body: string }[];
  answer: number;
  close(): Promise<void>;
}> {
  const got: { headers: NodeJS.Dict<string | string[]>; body: string }[] = [];
  let close = async (): Promise<void> => undefined;
  const here = { answer: 200, got, url: "", close: () => close() };
  const server = createServer((request, reply) => {
    let body = "";
    request.on("data", (chunk) => {
      body += chunk;
    });
    request.on("end", () => {
      got.push({ headers: request.headers, body });
      reply.writeHead(here.answer, { location: "http://127.0.0.1:1/" }).end("so");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  here.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`;
  close = () => new Promise((resolve) => server.close(() => resolve()));
  return here;
}

async function recordsWith(count: number, webhooks: readonly string[]): Promise<MemoryRecords> {
  const records = new MemoryRecords();
  const rollout = {
    id: "r",
    model: "m",
    active: true,
    ...{ startedMs: 0, updatedMs: 0, document: "{}", evidence: "{}" },
  };
  const atMs = systemClock.nowMs();
  const events = Array.from({ length: count }, (_, i) => ({
    id: `r.${i}`,
    rollout: "r",
    atMs,
    document: JSON.stringify({ i }),
  }));
  await records.write({ rollout, events, certificates: [], webhooks });
  return records;
}

test("each event arrives once, in order, and its signature fits", async () => {
  const there = await receiver();
  const records = await recordsWith(5, ["a"]);
  const outbox = new Outbox(records, [webhook("a", there.url)], { clock: systemClock });
  outbox.look();
  await expect.poll(async () => (await records.due("a", 9)).length).toBe(0);
  await outbox.close();
  await there.close();
  expect(there.got.map(({ body }) => JSON.parse(body))).toEqual(
    [0, 1, 2, 3, 4].map((i) => ({ i })),
  );
  for (const { headers, body } of there.got) {
    const text = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`;
    const mac = createHmac("sha256", SECRET).update(text).digest("base64");
    expect(headers["webhook-signature"]).toBe(`v1,${mac}`);
    expect(headers["webhook-key-id"]).toBe("k1");
  }
});

test("what is not taken is told again, holds up no other receiver, and keeps its order", async () => {
  const records = await recordsWith(3, ["a", "b"]);
  const told: string[] = [];
  let broken = true;
  const notices: string[] = [];
  let later = 0;
  const outbox = new Outbox(records, [webhook("a", "http://a/"), webhook("b", "http://b/")], {
    clock: { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + later },
    send: async ({ name }, id) => {
      if (name === "a" && broken) throw new Error("away");
      told.push(`${name} ${id}`);
    },
    notice: (line) => notices.push(line),
  });
  const readings = () => Object.fromEntries(outbox.readings().map((one) => [one.webhook, one]));
  outbox.look();
  await expect.poll(() => told).toEqual(["b r.0", "b r.1", "b r.2"]);
  outbox.look();
  await expect.poll(async () => (await records.due("a", 9))[0]?.attempts).toBe(1);
  expect(await records.due("a", 9)).toHaveLength(3);
  later = 10_000_000;
  outbox.look();
  await expect.poll(async () => (await records.due("a", 9))[0]?.attempts).toBe(2);
  await expect.poll(() => readings()["a"]?.undelivered).toBe(3);
  const failure = { why: "away", sinceMs: expect.any(Number) };
  const oldestMs = (await records.due("a", 1))[0]?.event.atMs;
  expect(readings()).toMatchObject({
    a: { delivered: 0, failed: 2, givenUp: 0, undelivered: 3, oldestMs, failure },
    b: { delivered: 3, failed: 0, givenUp: 0, undelivered: 0, oldestMs: null, failure: null },
  });
  // Told once, not with every try.
  expect(notices).toEqual([expect.stringMatching(/^webhook a does not take events: away;/)]);
  broken = false;
  later *= 2;
  outbox.look();
  await expect.poll(() => told.slice(3)).toEqual(["a r.0", "a r.1", "a r.2"]);
  await expect.poll(() => readings()["a"]?.undelivered).toBe(0);
  await outbox.close();
  expect(readings()["a"]).toMatchObject({ delivered: 3, failed: 2, oldestMs: null, failure: null });
  expect(notices.slice(1)).toEqual(["webhook a takes events again"]);
});

test("what is behind a slow receiver is counted while it works, and what it is told no more after days", async () => {
  const records = await recordsWith(3, ["a"]);
  let answer: (() => void) | undefined;
  const clock = { ...systemClock, days: 0, nowMs: () => systemClock.nowMs() + clock.days * 86.4e6 };
  const outbox = new Outbox(records, [webhook("a", "http://a/")], {
    clock,
    send: () =>
      new Promise((_, reject) => {
        answer = () => reject(new Error("too late"));
      }),
  });
  outbox.look();
  await expect.poll(() => answer).toBeDefined();
  outbox.look();
  await expect.poll(() => outbox.readings()[0]?.undelivered).toBe(3);
  expect(outbox.readings()[0]).toMatchObject({ delivered: 0, failed: 0, failure: null });
  clock.days = 4;
  answer?.();
  await expect.poll(() => outbox.readings()[0]?.givenUp).toBe(1);
  const last = outbox.close();
  answer?.();
  await last;
});

test("tries come further and further apart, and end after days", () => {
  const event = { id: "e", rollout: "r", atMs: 0, document: "" };
  const waits = [0, 1, 5, 50].map((attempts) => pauseAfter({ attempts, event }, 1000));
  expect(waits).toEqual([1000, 2000, 32_000, 300_000]);
  expect(pauseAfter({ attempts: 5, event }, 4 * 86_400_000)).toBeUndefined();
});

test("an answer that is no yes, a redirection among them, is a failure", async () => {
  const there = await receiver();
  for (const status of [302, 404, 500]) {
    there.answer = status;
    await expect(send(webhook("a", there.url), "1", "{}", 0)).rejects.toThrow(`answers ${status}`);
  }
  await there.close();
  expect(there.got).toHaveLength(3);
  // Nobody listens there now. Pages tell why, and not where.
  const gone = send(webhook("a", there.url), "1", "{}", 0);
  await expect(gone).rejects.toThrow(/^it cannot be reached \(ECONNREFUSED\)$/);
});

test("private networks are reached where the operator says so, and not otherwise", async () => {
  const there = await receiver();
  for (const url of [there.url, there.url.replace("127.0.0.1", "localhost")]) {
    const refused = send(webhook("a", url, false), "1", "{}", 0);
    await expect(refused).rejects.toThrow(/private network/);
  }
  await there.close();
  expect(there.got).toHaveLength(0);
  const inside = [
    "10.1.2.3",
    "172.31.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
  ];
  for (const one of [...inside, "::1", "::", "fe80::1", "fd00::1", "::ffff:8.8.8.8", "x"]) {
    expect(isPrivate(one), one).toBe(true);
  }
  for (const one of ["8.8.8.8", "172.32.0.1", "2606:4700::1"])
    expect(isPrivate(one), one).toBe(false);
});

test.each([
  ["nonsense", /is no JSON/],
  [
    '{"webhooks": [{"name": "a", "url": "ftp://x", "secret": "0123456789abcdef"}]}',
    /url is no address/,
  ],
  [
    '{"webhooks": [{"name": "a", "url": "https://u:p@x", "secret": "0123456789abcdef"}]}',
    /password/,
  ],
  ['{"webhooks": [{"name": "a", "url": "https://x", "secret": "short"}]}', /secret is missing/],
  ['{"webhooks": [{"url": "https://x", "secret": "0123456789abcdef"}]}', /name is missing/],
  ['{"hooks": []}', /hooks is no field/],
])("%s is refused", (text, fault) => {
  expect(() => parseWebhooks(text, "webhooks.json")).toThrow(fault);
  expect(() => parseWebhooks(text, "webhooks.json")).not.toThrow(SECRET);
});

test("a file of webhooks is read", () => {
  const one = { name: "pager", url: "https://example.org/hook", secret: SECRET };
  const [read] = parseWebhooks(JSON.stringify({ webhooks: [one] }), "webhooks.json");
  expect(read).toMatchObject({ name: "pager", keyId: "1", privateNetwork: false });
});
