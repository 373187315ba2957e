import { createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { present } from "../../base/assert.ts";
import { systemClock } from "../../base/clock.ts";
import { type DrillRecord, findingsOf, type SeenEvent } from "./record.ts";
import { drillDocument, drillMarkdown } from "./report.ts";
import { DRILLS } from "./scenario.ts";
import { SCENARIOS } from "./scenarios.ts";
import { Traffic } from "./traffic.ts";
import { Witness } from "./witness.ts";

// Whether a drill ended as stated is decided by what it saw alone; what it sees comes over real HTTP.

function seen(kind: string, atMs: number, cause: string | null = null): SeenEvent {
  const told = { streamMs: atMs + 1, webhookMs: atMs + 5, deliveries: 1 };
  return { id: `${kind}-${atMs}`, atMs, kind, cause, text: `it is ${kind}`, ...told };
}

function slowDrill(changes: Partial<DrillRecord> = {}): DrillRecord {
  const scenario = present(
    SCENARIOS.find(({ name }) => name === "latency-x3"),
    "it is there",
  );
  const answer = (sentMs: number, version: number, status = 200) => {
    return { sentMs, endedMs: sentMs + 4, status, version };
  };
  return {
    scenario,
    startedMs: 0,
    endedMs: 9000,
    candidate: 2,
    marks: [{ atMs: 10, text: "clients ask" }],
    injectedMs: null,
    events: [
      seen("started", 1000),
      seen("step", 1100),
      seen("verdict", 3000, "slow"),
      seen("rolled-back", 3000, "slow"),
    ],
    answers: [answer(500, 1), answer(1200, 2), answer(2990, 2), answer(3007, 2), answer(4000, 1)],
    end: { phase: "rolled-back", cause: "slow", text: "it is slow", candidateRequests: 40 },
    badSignatures: 0,
    labelsRefused: 0,
    ...changes,
  };
}

describe("what follows from what a drill saw", () => {
  test("one that ended as stated, with its times", () => {
    expect(findingsOf(slowDrill())).toEqual({
      held: true,
      misses: [],
      detection: { seconds: 1.9, requests: 40 },
      rollbackMs: 7,
      requests: 5,
      failed: 0,
      candidateAnswers: 3,
    });
    // From the fault, where that came later than the candidate.
    expect(findingsOf(slowDrill({ injectedMs: 2500 })).detection?.seconds).toBe(0.5);
  });

  test.each<[string, Partial<DrillRecord>, string]>([
    [
      "another cause",
      { end: { phase: "rolled-back", cause: "failed", text: "", candidateRequests: 1 } },
      "its cause is failed, not slow or slow-run",
    ],
    [
      "another end",
      { end: { phase: "promoted", cause: "slow", text: "", candidateRequests: 1 } },
      "it ended promoted, not rolled-back",
    ],
    ["no end", { end: null }, "the rollout had not ended after 180 s"],
    [
      "a request that failed",
      { answers: [{ sentMs: 1, endedMs: 2, status: 500, version: null }] },
      "1 requests failed; none was to",
    ],
    ["labels that were not taken", { labelsRefused: 2 }, "2 messages with labels were not taken"],
    ["a signature that is wrong", { badSignatures: 1 }, "1 messages had a wrong signature"],
    [
      "an event that does not come",
      { events: slowDrill().events.slice(0, 3) },
      "the event rolled-back did not come",
    ],
    [
      "an event too many",
      { events: [...slowDrill().events, seen("stable-down", 5000)] },
      "the event stable-down (it is stable-down) was not stated",
    ],
    [
      "events in another order",
      { events: [...slowDrill().events].reverse() },
      "the event rolled-back did not come",
    ],
    [
      "an event that no page got",
      { events: slowDrill().events.map((one) => ({ ...one, streamMs: null })) },
      "the event started did not come over the stream",
    ],
    [
      "an event that no webhook got",
      { events: slowDrill().events.map((one) => ({ ...one, deliveries: 0 })) },
      "the event started did not come to the webhook",
    ],
  ])("%s is a miss", (_what, changes, miss) => {
    const found = findingsOf(slowDrill(changes));
    expect(found.held).toBe(false);
    expect(found.misses.join("\n")).toContain(miss);
  });

  test("the report has the timeline in order, and nothing in it breaks a table", () => {
    const drill = drillDocument(slowDrill({ marks: [{ atMs: 2500, text: "a | b\n*c*" }] }));
    expect(drill.timeline.map(({ seconds }) => seconds)).toEqual(
      drill.timeline.map(({ seconds }) => seconds).sort((a, b) => a - b),
    );
    const text = drillMarkdown(drill);
    expect(text).toContain("**Ended as stated.**");
    expect(text).toContain(String.raw`| 2.500 | drill | a \| b \*c\* |`);
    expect(text).toContain("| 3.007 | clients | the last request that the candidate answers |");
  });

  test("each drill has its scenario, and states causes and events", () => {
    expect(SCENARIOS.map(({ name }) => name)).toEqual(DRILLS);
    for (const { hypothesis } of SCENARIOS) {
      expect(hypothesis.events[0]?.kind).toBe("started");
      expect(hypothesis.events.at(-1)?.kind).toBe(hypothesis.phase);
      expect(hypothesis.causes.length).toBeGreaterThan(0);
    }
  });
});

describe("who watches", () => {
  const news = { model: "digits", rollout: "r1", kind: "step", atMs: 5, text: "5 %", cause: null };

  test("an event over the stream and the webhook is one; a wrong signature is told", async () => {
    const stream = createServer((_request, response) => {
      response.write(
        `event: stats\ndata: {}\n\nevent: rollout\ndata: ${JSON.stringify({ ...news, id: "e1" })}\n\n`,
      );
      response.write(
        'event: event\nid: 1\ndata: {"kind": "load", "model": "digits", "atMs": 1}\n\n',
      );
    });
    stream.listen(0, "127.0.0.1");
    await once(stream, "listening");
    onTestFinished(() => {
      stream.closeAllConnections();
      stream.close();
    });
    const witness = new Witness("digits", systemClock);
    onTestFinished(() => witness.close());
    const { webhooks } = JSON.parse(await witness.open());
    const [{ url, secret }] = webhooks;
    const { port } = stream.address() as AddressInfo;
    await witness.follow(new URL(`http://127.0.0.1:${port}`));
    const deliver = async (body: string, key: string): Promise<number> => {
      const mac = createHmac("sha256", key).update(`e1.1.${body}`).digest("base64");
      const headers = { "webhook-id": "e1", "webhook-timestamp": "1" };
      const signature = { "webhook-signature": `v1,${mac}` };
      return (await fetch(url, { method: "POST", body, headers: { ...headers, ...signature } }))
        .status;
    };
    const body = JSON.stringify({ ...news, id: "e1" });
    expect(await deliver(body, "another")).toBe(401);
    // The first of all is to come again.
    expect(await deliver(body, secret)).toBe(503);
    expect(await deliver(body, secret)).toBe(204);
    expect(await deliver(body, secret)).toBe(204);
    expect(await witness.until(() => witness.events()[0]?.streamMs !== null, 2000)).toBe(true);
    expect(witness.events()).toMatchObject([{ id: "e1", kind: "step", deliveries: 2 }]);
    expect(witness.badSignatures).toBe(1);
    expect(await witness.until(() => false, 5)).toBe(false);
  });

  test("clients ask digit after digit, count what comes, and tell the labels later", async () => {
    const asked: string[] = [];
    const told: { requestId: string; correct: boolean }[] = [];
    const server = createServer((request, response) => {
      let text = "";
      request.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      request.on("end", () => {
        if (request.url === "/api/v1/feedback") told.push(...JSON.parse(text));
        else asked.push(String(request.headers["x-request-id"]));
        const [row = 0] = request.url === "/api/v1/feedback" ? [] : JSON.parse(text).inputs[0].data;
        if (asked.length === 3) response.writeHead(503);
        // The first digit is right, the second is not.
        const data = [row === 0 ? 1 : 0, row === 0 ? 0 : 0.5, 0.4];
        response.end(JSON.stringify({ model_version: "2", outputs: [{ data }] }));
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    const { port } = server.address() as AddressInfo;
    const examples = { inputs: Float32Array.of(0, 1), labels: Uint8Array.of(0, 2), count: 2 };
    const traffic = new Traffic({
      server: new URL(`http://127.0.0.1:${port}`),
      model: "digits",
      input: { name: "image", shape: [1] },
      examples,
      rate: 200,
      seconds: 60,
      labels: true,
      clock: systemClock,
    });
    traffic.start();
    while (traffic.answers.length < 6 || told.length < 2) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await traffic.stop();
    expect(new Set(asked).size).toBe(asked.length);
    expect(asked).toContain("drill-0");
    expect(traffic.answers.filter(({ status }) => status === 503)).toHaveLength(1);
    const answered = traffic.answers.filter(({ status }) => status === 200);
    expect(traffic.answersOf(2)).toBe(answered.length);
    for (const { requestId, correct } of told) {
      expect(correct).toBe(Number(requestId.slice("drill-".length)) % 2 === 0);
    }
  });
});
