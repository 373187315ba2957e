// A folder with two equal versions of a model, a real server over it that can be killed, and clients that go on asking.

import { rm } from "node:fs/promises";
import { Registry } from "../src/registry/registry.ts";
import { replayed } from "../src/rollout/certificate.ts";
import type { RolloutDocument } from "../src/rollout/document.ts";
import type { Certificate } from "../src/rollout/record.ts";
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

  /** Starts one where this one was, which is dead, and waits for nothing. */
  successor(folder: string): RolloutServer {
    const { port } = new URL(this.at);
    const running = new Running(["serve", "--port", port, "--no-grpc", "--data", folder]);
    return new RolloutServer(running, this.at);
  }

  /** One inference, as a client asks for it. */
  infer(): Promise<Response> {
    const inputs = [{ name: "x", shape: [1, 3], datatype: "FP32", data: [1, 2, 3] }];
    const body = JSON.stringify({ inputs });
    return fetch(`${this.at}/v2/models/${MODEL}/infer`, { method: "POST", body });
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
    try {
      const answer = await here.infer();
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

/** When a server is killed: so long after its rollout was first seen there. */
export interface KillPoint {
  readonly phase: "loading" | "shadow" | "canary";
  /** -1 before the first. */
  readonly step: number;
  readonly waitMs: number;
}

/** The steps of `QUICK`, each with about how long it takes. */
export const KILL_STEPS: readonly KillPoint[] = [
  { phase: "loading", step: -1, waitMs: 250 },
  { phase: "shadow", step: -1, waitMs: 120 },
  { phase: "canary", step: 0, waitMs: 700 },
  { phase: "canary", step: 1, waitMs: 700 },
];

/** What one kill found. Milliseconds since the start of the process that follows the killed one. */
export interface Killed {
  /** Where the rollout was seen last, before the kill. */
  readonly phase: string;
  /** Until it said how the rollout stands. */
  readonly knownMs: number;
  /** Until the model was answered for again. */
  readonly servesMs: number;
  /** Until the rollout went on. */
  readonly goesOnMs: number;
  readonly faults: readonly string[];
}

/** Kills a server at a point of a rollout, starts another one, and looks at what it knows and how the rollout ends. */
export async function killOnce(folder: string, point: KillPoint): Promise<Killed> {
  await rm(folder, { recursive: true, force: true });
  await twoVersions(folder);
  const first = await RolloutServer.start(folder);
  let server: RolloutServer | undefined = first;
  const clients = clientsOf(() => server, 4);
  const order = { to: 2, policy: QUICK };
  const begun = await first.api<RolloutDocument>("POST", `models/${MODEL}/rollout`, order);
  const seen = await watch(first, point);
  const killedMs = performance.now();
  server = undefined;
  await first.kill();
  const fromMs = performance.now();
  const next = first.successor(folder);
  const since = (): number => performance.now() - fromMs;
  const known = answered(
    next,
    () => next.rollout(),
    ({ id }) => id !== undefined,
  );
  const goesOn = answered(next, () => next.rollout(), wentOn).then(since);
  const serves = answered(
    next,
    () => next.infer(),
    ({ ok }) => ok,
  ).then(since);
  const after = await known;
  const knownMs = since();
  const servesMs = await serves;
  server = next;
  const faults = [...keptFaults(begun, seen, killedMs, after), ...(await endFaults(next))];
  await clients.stop();
  if (clients.counts.bad.length > 0) faults.push(`failed: ${clients.counts.bad[0]}`);
  await next.stop();
  await using registry = await Registry.open(folder);
  const moves = await registry.aliasEvents(MODEL, "stable");
  if (moves.map(({ version }) => version).join() !== "1,2")
    faults.push("the alias moved otherwise");
  const last = seen.at(-1)?.document ?? begun;
  const phase = last.phase === "canary" ? `canary ${last.step}` : last.phase;
  return { phase, knownMs, servesMs, goesOnMs: await goesOn, faults };
}

interface Seen {
  readonly atMs: number;
  readonly document: RolloutDocument;
}

/** What is shown until a point has been reached. */
async function watch(server: RolloutServer, { phase, step, waitMs }: KillPoint): Promise<Seen[]> {
  const seen: Seen[] = [];
  let until = Number.POSITIVE_INFINITY;
  while (performance.now() < until) {
    const document = await server.rollout();
    seen.push({ atMs: performance.now(), document });
    const reached = document.phase === phase && document.step === step;
    if (until === Number.POSITIVE_INFINITY && (reached || document.over)) {
      until = performance.now() + waitMs;
    }
    await new Promise((resolve) => setTimeout(resolve, Math.min(20, waitMs)));
  }
  return seen;
}

/** Whether a server has taken over a rollout, or there was nothing to take over. */
function wentOn({ over, events = [] }: RolloutDocument): boolean {
  return over || events.some(({ kind }) => kind === "restarted");
}

/** Asks a server that may not listen yet until its answer is as it should be. */
async function answered<T>(
  server: RolloutServer,
  ask: () => Promise<T>,
  holds: (answer: T) => boolean,
): Promise<T> {
  for (;;) {
    const answer = await ask().catch(() => undefined);
    if (answer !== undefined && holds(answer)) return answer;
    const { exitCode } = server.running.process;
    if (exitCode !== null) throw new Error(`it ended with ${exitCode}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const PHASES = ["loading", "shadow", "canary", "promoting", "promoted"];

/** What the next server does not know, and should. */
function keptFaults(
  begun: RolloutDocument,
  seen: readonly Seen[],
  killedMs: number,
  after: RolloutDocument,
): string[] {
  // What was shown two seconds ago is written down: within one, and the machine may be busy.
  const sure = seen.findLast(({ atMs }) => atMs < killedMs - 2000)?.document ?? begun;
  const requests = (one: RolloutDocument): number => one.verdict?.candidateRequests ?? 0;
  const faults: string[] = [];
  const expect = (holds: boolean, text: string): void => void (holds || faults.push(text));
  expect(after.id === begun.id, "it is another rollout");
  expect(
    PHASES.indexOf(after.phase) >= PHASES.indexOf(sure.phase),
    `${sure.phase}, then ${after.phase}`,
  );
  expect(after.step >= sure.step, "a step was lost");
  expect(
    requests(after) >= requests(sure),
    `evidence was lost: ${requests(sure)} to ${requests(after)}`,
  );
  return faults;
}

/** What is wrong with how the rollout ends. */
async function endFaults(server: RolloutServer): Promise<string[]> {
  const faults: string[] = [];
  const expect = (holds: boolean, text: string): void => void (holds || faults.push(text));
  const end = await server.until(({ over }) => over);
  expect(end.phase === "promoted", `it ended as ${end.phase}: ${end.reason?.text}`);
  const kinds = end.events.map(({ kind }) => kind);
  const promoted = kinds.filter((kind) => kind === "promoted").length;
  expect(promoted === 1, `promoted ${promoted} times`);
  const ids = new Set(end.events.map(({ id }) => id));
  expect(ids.size === end.events.length, "two events have one id");
  const { split } = await server.api<{ split: unknown }>("GET", `models/${MODEL}/split`);
  expect(
    JSON.stringify(split) === '{"stable":2,"share":0}',
    `the split is ${JSON.stringify(split)}`,
  );
  const { certificates } = await server.api<{ certificates: readonly Certificate[] }>(
    "GET",
    `rollouts/${end.id}/certificate`,
  );
  expect(certificates.at(-1)?.decision === "promote", "nothing says why it was promoted");
  for (const one of certificates) {
    const { differences } = replayed(one);
    expect(differences.length === 0, `${one.decision}: ${differences[0]}`);
  }
  return faults;
}
