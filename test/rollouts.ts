// A folder with two equal versions of a model, a real server over it that can be killed, and clients that go on asking.

import { rm } from "node:fs/promises";
import { Registry } from "../src/registry/registry.ts";
import type { RolloutDocument } from "../src/rollout/document.ts";
import { Running } from "./cli.ts";
import { affineModel } from "./models.ts";

/** The model. */
export const MODEL = "net";

/** Registers two versions that compute the same; `stable` points to the first, both have passed a check. */
export async function twoVersions(folder: string): Promise<void> {
  await using registry = await Registry.open(folder);
  // Another text about the model: another file that computes the same.
  const text = Buffer.from("the second one");
  const files = [
    affineModel(),
    Buffer.concat([affineModel(), Uint8Array.of(0x32, text.length), text]),
  ];
  for (const file of files) {
    const metadata = { createdBy: "a test", metrics: {} };
    const { version } = await registry.push(MODEL, file, { metadata });
    await registry.recordCheck(version, { actor: "ci", passed: true, report: Buffer.from("{}") });
  }
  await registry.setAlias(MODEL, "stable", 1, { actor: "ci", reason: "first" });
}

/** A server of such a folder. */
export class RolloutServer {
  readonly running: Running;
  readonly at: string;

  private constructor(running: Running, at: string) {
    this.running = running;
    this.at = at;
  }

  static async start(folder: string, ...args: string[]): Promise<RolloutServer> {
    const running = new Running(["serve", "--port", "0", "--no-grpc", "--data", folder, ...args]);
    const [, at = ""] = await running.says(
      /(http:\/\/127\.0\.0\.1:\d+) {2}Open Inference Protocol/,
    );
    return new RolloutServer(running, at);
  }

  async api<T>(method: string, path: string, body?: unknown): Promise<T> {
    const answer = await fetch(`${this.at}/api/v1/${path}`, {
      method,
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    return (await answer.json()) as T;
  }

  rollout(): Promise<RolloutDocument> {
    return this.api("GET", `models/${MODEL}/rollout`);
  }

  async until(holds: (document: RolloutDocument) => boolean): Promise<RolloutDocument> {
    for (;;) {
      const found = await this.rollout();
      if (holds(found)) return found;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** As an operating system ends what it has no memory for. */
  async kill(): Promise<void> {
    this.running.kill("SIGKILL");
    await this.running.done;
  }

  async stop(): Promise<void> {
    this.running.kill("SIGINT");
    await this.running.done;
  }
}

/** Clients that go on asking until they are stopped. */
export interface Clients {
  readonly counts: { good: number; readonly bad: string[] };
  stop(): Promise<void>;
}

/** Clients that ask whichever server there is now. Those without an answer while none is there are no failures. */
export function clientsOf(server: () => RolloutServer | undefined, clients: number): Clients {
  const counts: Clients["counts"] = { good: 0, bad: [] };
  let on = true;
  const ask = async (): Promise<void> => {
    const here = server();
    if (here === undefined) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return;
    }
    const inputs = [{ name: "x", shape: [1, 3], datatype: "FP32", data: [1, 2, 3] }];
    try {
      const answer = await fetch(`${here.at}/v2/models/${MODEL}/infer`, {
        method: "POST",
        body: JSON.stringify({ inputs }),
      });
      const text = await answer.text();
      if (answer.ok) counts.good++;
      else if (here === server()) counts.bad.push(`${answer.status} ${text}`);
    } catch {
      // It was killed under this request.
    }
  };
  const loops = Array.from({ length: clients }, async () => {
    while (on) {
      await ask();
      // As many as the machine takes would tell of the machine.
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });
  const stop = async (): Promise<void> => {
    on = false;
    await Promise.all(loops);
  };
  return { counts, stop };
}

/** A policy that goes through all phases in a few seconds. */
export const QUICK: unknown = {
  steps: [0.1, 0.5].map((share) => ({ share, seconds: 0.5, requests: 20 })),
  shadow: { pairs: 5, seconds: 1 },
  thresholdMs: 10_000,
  gates: Object.fromEntries(
    ["slow", "failed", "out-of-memory", "wrong"].map((gate) => [gate, { floor: 0.2 }]),
  ),
};

/** What one kill found. */
export interface Killed {
  readonly phase: string;
  /** Until the killed server's successor said where the rollout is, once it listened. Milliseconds. */
  readonly recoveredMs: number;
  readonly faults: readonly string[];
}

/**
 * Kills a server so long after the start of a rollout, starts another one, and looks at what it knows.
 *
 * @param afterMs since the rollout began.
 */
export async function killOnce(folder: string, afterMs: number): Promise<Killed> {
  await rm(folder, { recursive: true, force: true });
  await twoVersions(folder);
  let server: RolloutServer | undefined = await RolloutServer.start(folder);
  const clients = clientsOf(() => server, 4);
  const faults: string[] = [];
  const begun = await server.api<RolloutDocument>("POST", `models/${MODEL}/rollout`, {
    to: 2,
    policy: QUICK,
  });
  const seen: { atMs: number; document: RolloutDocument }[] = [];
  const from = performance.now();
  while (performance.now() - from < afterMs) {
    seen.push({ atMs: performance.now(), document: await server.rollout() });
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const killedMs = performance.now();
  const first = server;
  server = undefined;
  await first.kill();
  const next = await RolloutServer.start(folder);
  const listensMs = performance.now();
  server = next;
  const after = await next.rollout();
  const recoveredMs = performance.now() - listensMs;
  const last = seen.at(-1)?.document ?? begun;
  // What was shown two seconds ago is written down: within one, and the machine may be busy.
  const sure = seen.findLast(({ atMs }) => atMs < killedMs - 2000)?.document ?? begun;
  const expect = (holds: boolean, text: string): void => void (holds || faults.push(text));
  expect(after.id === begun.id, "it is another rollout");
  const order = ["loading", "shadow", "canary", "promoting", "promoted"];
  expect(
    order.indexOf(after.phase) >= order.indexOf(sure.phase),
    `${sure.phase}, then ${after.phase}`,
  );
  expect(after.step >= sure.step, "a step was lost");
  const requests = (one: RolloutDocument): number => one.verdict?.candidateRequests ?? 0;
  expect(
    requests(after) >= requests(sure),
    `evidence was lost: ${requests(sure)} to ${requests(after)}`,
  );
  const end = await next.until(({ over }) => over);
  expect(end.phase === "promoted", `it ended as ${end.phase}: ${end.reason?.text}`);
  const kinds = end.events.map(({ kind }) => kind);
  const promoted = kinds.filter((kind) => kind === "promoted").length;
  expect(promoted === 1, `promoted ${promoted} times`);
  const ids = new Set(end.events.map(({ id }) => id));
  expect(ids.size === end.events.length, "two events have one id");
  const { split } = await next.api<{ split: unknown }>("GET", `models/${MODEL}/split`);
  expect(
    JSON.stringify(split) === '{"stable":2,"share":0}',
    `the split is ${JSON.stringify(split)}`,
  );
  await clients.stop();
  expect(clients.counts.bad.length === 0, `failed: ${clients.counts.bad[0]}`);
  await next.stop();
  await using registry = await Registry.open(folder);
  const moves = await registry.aliasEvents(MODEL, "stable");
  expect(moves.map(({ version }) => version).join() === "1,2", "the alias moved otherwise");
  return { phase: last.phase, recoveredMs, faults };
}
