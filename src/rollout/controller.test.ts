import { expect, test } from "vitest";
import { present } from "../base/assert.ts";
import { digestOf } from "../registry/digest.ts";
import type { ScriptedProcess } from "../serve/scripted-runner.test-helper.ts";
import { decidedBy, replayed } from "./certificate.ts";
import { MemoryRecords } from "./memory-records.ts";
import type { Certificate } from "./record.ts";
import { type Served, served } from "./served.test-helper.ts";

/** Short steps: what is tested is what happens, not how long. */
const POLICY = {
  steps: [
    { share: 0.2, seconds: 0, requests: 20 },
    { share: 0.5, seconds: 0, requests: 20 },
  ],
  shadow: { pairs: 2, seconds: 1 },
  thresholdMs: 1000,
  effect: 10,
  gates: Object.fromEntries(
    ["slow", "failed", "out-of-memory", "wrong"].map((gate) => [gate, { floor: 0.2 }]),
  ),
};

test("a good version is promoted, over real HTTP, and nothing fails", async () => {
  await using here = await served();
  const stop = here.load();
  const started = await here.api("POST", "models/m/rollout", { to: 2, policy: POLICY });
  expect(started).toMatchObject({ status: 201, body: { phase: "loading", from: 1, to: 2 } });
  const end = await here.until(({ over }) => over);
  await stop();
  expect(end).toMatchObject({ phase: "promoted", share: 0, reason: { cause: "passed" } });
  expect(here.alias.moves).toEqual([2]);
  expect(here.server.fleet.entry("m")).toMatchObject({
    split: { stable: 2, share: 0 },
    owner: "source",
  });
  expect(here.counts.failed).toBe(0);
  const told = here.news.map(({ kind }) => kind);
  expect(told.filter((kind) => kind !== "verdict")).toEqual([
    "started",
    "shadow",
    "step",
    "step",
    "promoting",
    "promoted",
  ]);
});

test("a version that fails is taken back, and no client sees it fail", async () => {
  await using here = await served({ 2: { run: "fails" } });
  const stop = here.load();
  const policy = { ...POLICY, shadow: false };
  // A version whose warm-up fails would not load at all.
  here.runner.scripts.set("v2", { run: "well" });
  await here.api("POST", "models/m/rollout", { to: 2, policy });
  await here.until(({ phase }) => phase === "canary");
  for (const process of here.runner.processes)
    if (process.path === "v2") process.script.run = "fails";
  const end = await here.until(({ over }) => over);
  const before = here.counts.versions.get(2) ?? 0;
  await new Promise((resolve) => setTimeout(resolve, 100));
  await stop();
  expect(end.phase).toBe("rolled-back");
  // On a busy machine the known question may be asked first.
  expect(["failed", "wrong-answer"]).toContain(end.reason?.cause);
  expect(here.counts.versions.get(2) ?? 0).toBe(before);
  expect(here.counts.failed).toBe(0);
  expect(here.alias.moves).toEqual([]);
});

test("a server that is gone in the middle is followed by one that goes on, with the evidence kept", async () => {
  const records = new MemoryRecords();
  const alias = { version: 1, broken: false, moves: [] };
  const policy = { ...POLICY, steps: [{ share: 0.3, seconds: 0 }], autoPromote: false };
  const saltOf = (here: Served) => here.server.fleet.entry("m")?.split.salt;
  let before = 0;
  let salt: number | undefined;
  {
    await using first = await served({}, { records, alias });
    const stop = first.load();
    await first.api("POST", "models/m/rollout", { to: 2, policy });
    const seen = await first.until(
      ({ phase, verdict }) => phase === "canary" && (verdict?.candidateRequests ?? 0) > 50,
    );
    before = seen.verdict?.candidateRequests ?? 0;
    salt = saltOf(first);
    await stop();
  }
  expect(await records.active()).toHaveLength(1);
  await using second = await served({}, { records, alias });
  const stop = second.load();
  const again = await second.until(({ phase, share }) => phase === "canary" && share === 0.3);
  expect(again.verdict?.candidateRequests).toBeGreaterThanOrEqual(before);
  // Each sticky client stays where it was, and the next rollout draws anew.
  expect(salt).toEqual(expect.any(Number));
  expect(saltOf(second)).toBe(salt);
  expect(again.events.map(({ kind }) => kind).slice(0, 3)).toEqual(["started", "shadow", "step"]);
  const aborted = await second.api("POST", "models/m/rollout/abort", { reason: "enough" });
  expect(aborted).toMatchObject({ status: 200, body: { phase: "aborted", over: true, share: 0 } });
  await second.api("POST", "models/m/rollout", { to: 2, policy });
  await second.until(({ phase, share }) => phase === "canary" && share === 0.3);
  expect(saltOf(second)).not.toBe(salt);
  await stop();
  expect(second.counts.failed).toBe(0);
  const ids = again.events.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
});

test("one rollout of a model at a time, and nobody else sets its split", async () => {
  await using here = await served();
  const start = () => here.api("POST", "models/m/rollout", { to: 2, policy: POLICY });
  const both = await Promise.all([start(), start(), start()]);
  expect(both.map(({ status }) => status).sort()).toEqual([201, 409, 409]);
  for (const to of [2, 3]) {
    const second = await here.api("POST", "models/m/rollout", { to, policy: POLICY });
    expect(second).toMatchObject({
      status: 409,
      body: { error: expect.stringMatching(/under way/) },
    });
  }
  const split = await here.api("PUT", "models/m/split", { stable: 1 });
  expect(split).toMatchObject({ status: 409, body: { error: expect.stringMatching(/rollout/) } });
  await here.api("POST", "models/m/rollout/abort");
  expect((await here.api("PUT", "models/m/split", { stable: 1 })).status).toBe(200);
});

test("of two that are ordered at the same time one is started, and the other told why not", async () => {
  await using here = await served();
  const order = () => here.api("POST", "models/m/rollout", { to: 2, policy: POLICY });
  const answers = await Promise.all([order(), order(), order()]);
  expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409]);
});

test("what cannot be started says why, and a dry run starts nothing", async () => {
  await using here = await served();
  const start = (body: unknown) => here.api("POST", "models/m/rollout", body);
  const error = (pattern: RegExp) => ({ error: expect.stringMatching(pattern) });
  expect(await start({})).toMatchObject({ status: 400, body: error(/to, the version/) });
  expect(await start({ to: 9 })).toMatchObject({ status: 404, body: error(/no version 9/) });
  expect(await start({ to: 1 })).toMatchObject({ status: 409, body: error(/stable one already/) });
  for (const override of [undefined, " "]) {
    const unchecked = { status: 409, body: error(/release check/) };
    expect(await start({ to: 3, override })).toMatchObject(unchecked);
  }
  expect(await start({ to: 2 })).toMatchObject({
    status: 400,
    body: error(/which request is slow/),
  });
  const wrong = { to: 2, policy: { step: [] } };
  expect(await start(wrong)).toMatchObject({ status: 400, body: error(/step is no field/) });
  const dry = await start({ to: 3, override: "so", policy: POLICY, dryRun: true });
  expect(dry).toMatchObject({ status: 200, body: { schema: "skipway.rollout-plan/1", from: 1 } });
  expect((await here.api("GET", "models/m/rollout")).status).toBe(404);
  expect((await here.api("POST", "models/m/rollout/hold")).status).toBe(404);
  expect((await here.api("POST", "models/m/rollout/dance")).status).toBe(404);
  expect(here.runner.processes).toHaveLength(1);
});

test("a plan knows the rate of a server that is young", async () => {
  await using here = await served();
  const stop = here.load(4);
  await expect.poll(() => here.counts.asked, { timeout: 20_000 }).toBeGreaterThan(300);
  await stop();
  // Every request is slow.
  const policy = { ...POLICY, thresholdMs: 1e-6, gates: { slow: { off: true } } };
  const order = { to: 2, policy, dryRun: true };
  const proposal = await here.rollouts.propose("m", { ...order, actor: "somebody" });
  const { ratePerSecond, windowSeconds } = proposal.plan;
  expect(windowSeconds).toBeGreaterThanOrEqual(5);
  expect(windowSeconds).toBeLessThan(55);
  const answered = here.server.fleet.stats().find(({ version }) => version === 1)?.requests;
  expect(ratePerSecond * windowSeconds).toBeCloseTo(answered ?? 0, 6);
});

test("a plan is longer where the same few clients are slow again and again", async () => {
  await using here = await served();
  const stop = here.load(4);
  await expect.poll(() => here.counts.asked, { timeout: 20_000 }).toBeGreaterThan(100);
  await stop();
  const { lastRequests } = present(
    here.server.fleet.entry("m")?.hosts.get(1),
    "version 1 is served",
  ).counters;
  /** The same share of slow requests, of the first so many clients. */
  const stepsFor = async (slowClients: number) => {
    for (let i = 0; i < 8192; i++) {
      const isSlow = i % 50 === 0;
      const key = isSlow ? (i / 50) % slowClients : 1000 + (i % 3000);
      lastRequests.add(Math.floor(i / 4), isSlow ? 2000 : 1, key);
    }
    const policy = { steps: [0.25, 0.5], thresholdMs: 1000 };
    const { plan } = await here.rollouts.propose("m", { to: 2, actor: "somebody", policy });
    return plan.steps.map(({ requests }) => requests ?? Number.POSITIVE_INFINITY);
  };
  const [many, few] = [await stepsFor(500), await stepsFor(5)];
  for (const [i, requests] of many.entries()) expect(few[i]).toBeGreaterThan(1.5 * requests);
});

test("a person holds, freezes, promotes; a dry run says what would happen", async () => {
  await using here = await served();
  const stop = here.load(4);
  const policy = { ...POLICY, shadow: false, autoPromote: false };
  await here.api("POST", "models/m/rollout", { to: 2, policy });
  await here.until(({ phase }) => phase === "canary");
  const act = (name: string, body: unknown = {}) =>
    here.api("POST", `models/m/rollout/${name}`, body);
  expect(await act("hold", { reason: "lunch" })).toMatchObject({ body: { held: true } });
  expect(await act("freeze", { rollback: false })).toMatchObject({
    body: { frozen: true, automaticRollback: false },
  });
  const frozen = { status: 409, body: { error: expect.stringMatching(/frozen: resume it first/) } };
  for (const name of ["promote", "hold"]) expect(await act(name)).toMatchObject(frozen);
  expect(await act("resume")).toMatchObject({ body: { held: false, frozen: false } });
  const dry = await act("promote", { dryRun: true });
  expect(dry.body).toMatchObject({
    effects: [{ kind: "split", split: { stable: 1, candidate: 2, share: 1 } }, {}, {}, {}],
  });
  expect(await act("promote", { reason: "I know" })).toMatchObject({
    body: { phase: "promoting" },
  });
  const end = await here.until(({ over }) => over);
  await stop();
  expect(end).toMatchObject({ phase: "promoted", reason: { cause: "operator", text: "I know" } });
  const told = (kind: string) => here.news.find((one) => one.kind === kind);
  expect(told("held")).toMatchObject({ automaticRollback: true, share: 0.2 });
  expect(told("frozen")).toMatchObject({
    automaticRollback: false,
    text: expect.stringMatching(/no automatic rollback/),
  });
  expect([told("promoting")?.share, told("promoted")?.share]).toEqual([1, 1]);
});

test("a registry that is lost holds up the alias alone", async () => {
  await using here = await served();
  const stop = here.load(4);
  here.alias.broken = true;
  await here.api("POST", "models/m/rollout", { to: 2, policy: { ...POLICY, shadow: false } });
  await here.until(({ phase }) => phase === "canary");
  await here.api("POST", "models/m/rollout/promote");
  const waiting = await here.until(({ events }) =>
    events.some(({ kind }) => kind === "registry-lost"),
  );
  expect(waiting).toMatchObject({ phase: "promoting", share: 1, over: false });
  here.alias.broken = false;
  const end = await here.until(({ over }) => over);
  await stop();
  expect(end.phase).toBe("promoted");
  expect(here.alias.moves).toEqual([2]);
});

test("an alias that people move meanwhile stops the rollout, is left alone, and is followed at the end", async () => {
  await using here = await served();
  const stop = here.load(4);
  const policy = { ...POLICY, shadow: false, autoPromote: false };
  await here.api("POST", "models/m/rollout", { to: 2, policy });
  await here.until(({ phase }) => phase === "canary");
  here.alias.version = 3;
  const seen = await here.until(({ aliasElsewhere }) => aliasElsewhere !== null);
  expect(seen).toMatchObject({ aliasElsewhere: 3, phase: "canary" });
  const moved = here.news.filter(({ kind }) => kind === "alias-moved");
  expect(moved).toMatchObject([
    { cause: "alias", text: expect.stringMatching(/version 3 answers/) },
  ]);
  const promoted = await here.api("POST", "models/m/rollout/promote");
  expect(promoted).toMatchObject({
    status: 409,
    body: { error: expect.stringMatching(/alias stable to version 3/) },
  });
  expect(await here.api("POST", "models/m/rollout/abort")).toMatchObject({ body: { over: true } });
  // As a server that starts would have it.
  const entry = () => here.server.fleet.entry("m");
  await expect.poll(() => entry()?.split).toEqual({ stable: 3, share: 0 });
  expect(entry()?.owner).toBe("source");
  await stop();
  expect(here.alias).toMatchObject({ version: 3, moves: [] });
  expect(here.counts.failed).toBe(0);
});

test("no rollout starts beside an alias that points elsewhere", async () => {
  await using here = await served();
  here.alias.version = 3;
  const start = await here.api("POST", "models/m/rollout", { to: 2, policy: POLICY });
  expect(start).toMatchObject({
    status: 409,
    body: { error: expect.stringMatching(/points to version 3, and/) },
  });
});

test("the end of a rollout says where the alias and the split do not agree", async () => {
  await using here = await served();
  const policy = { ...POLICY, shadow: false };
  await here.api("POST", "models/m/rollout", { to: 2, policy });
  // Too late to be seen before the end.
  here.alias.version = 2;
  await here.api("POST", "models/m/rollout/abort");
  const end = await here.until(({ fault }) => fault !== null);
  expect(end.fault).toMatch(/stable points to version 2, and version 1 answers/);
});

/** With the digest that belongs to it. */
function sealed({ digest: _, ...certificate }: Certificate): Certificate {
  return { ...certificate, digest: digestOf(Buffer.from(JSON.stringify(certificate))) };
}

test("each decision has its certificate, and judging once more gives the same bits", async () => {
  await using here = await served();
  const stop = here.load();
  const policy = { ...POLICY, shadow: false, autoPromote: false };
  await here.api("POST", "models/m/rollout", { to: 2, policy });
  await here.until(({ phase, step }) => phase === "canary" && step === 1);
  for (const process of here.runner.processes)
    if (process.path === "v2") process.script.run = "fails";
  const { id } = await here.until(({ over }) => over);
  await stop();
  await expect
    .poll(async () => (await here.rollouts.certificates(id)).map(({ decision }) => decision))
    .toEqual(["step", "step", "rollback"]);
  for (const certificate of await here.rollouts.certificates(id)) {
    expect(replayed(certificate)).toMatchObject({ same: true, differences: [] });
    const { gates } = certificate.verdict;
    const moved = gates.map((gate) => ({ ...gate, logE: gate.logE + 2 ** -40 }));
    const forged = { ...certificate, verdict: { ...certificate.verdict, gates: moved } };
    expect(replayed(sealed(forged)).differences).not.toEqual([]);
    const path = certificate.path?.map((point) => ({ ...point, logE: point.logE + 2 ** -40 }));
    if (path !== undefined && path.length > 0) {
      expect(replayed(sealed({ ...certificate, path })).differences).toMatchObject([
        expect.stringMatching(/is drawn at \d+, .* is not in the log/),
      ]);
    }
    // As they were written before there were these.
    const { advisory: _advisory, path: _path, ...older } = certificate;
    expect(replayed(sealed(older))).toMatchObject({ same: true });
    const drawn = certificate.path?.filter(({ gate }) => gate !== "disagreement");
    expect(decidedBy(id, sealed(older)).path).toEqual(drawn);
    expect(certificate.advisory).toMatchObject({ drift: [{ output: "y" }], cost: { alpha: 0.05 } });
    // What the verdict does not follow from is told too.
    for (const name of ["from", "decision", "digests", "atMs", "advisory", "path"] as const) {
      const changed = { ...certificate, [name]: null };
      expect(replayed(changed)).toMatchObject({ same: false, verdict: null });
    }
  }
});

test.each([
  ["dies", /^crash$/, (process: ScriptedProcess) => process.die("crash")],
  [
    "answers with numbers that are none",
    // By its requests, or by the known question that it is asked now and then.
    /^wrong/,
    ({ script }: ScriptedProcess) => {
      script.gain = Number.NaN;
    },
  ],
  [
    "is slow",
    // End to end, or the batches alone.
    /^slow/,
    ({ script }: ScriptedProcess) => {
      script.runMs = 60;
    },
  ],
])("a candidate that %s is taken back", async (_what, cause, spoil) => {
  await using here = await served();
  const stop = here.load();
  const policy = { ...POLICY, shadow: false, autoPromote: false, thresholdMs: 50 };
  await here.api("POST", "models/m/rollout", { to: 2, policy });
  await here.until(({ phase, step }) => phase === "canary" && step === 1);
  for (const process of here.runner.processes) if (process.path === "v2") spoil(process);
  const end = await here.until(({ over }) => over);
  await stop();
  expect(end).toMatchObject({
    phase: "rolled-back",
    reason: { cause: expect.stringMatching(cause) },
  });
  expect(here.server.fleet.entry("m")?.split).toEqual({ stable: 1, share: 0 });
  expect(here.counts.failed).toBe(0);
});

test("a candidate whose first batches are slow is not taken back for them", async () => {
  await using here = await served({ 2: { runMs: 600 } });
  // One client, so that batches of both versions are alike.
  const stop = here.load(1);
  const steps = [{ share: 0.1, seconds: 0, requests: 1e6 }];
  const policy = { steps, shadow: false, thresholdMs: 400 };
  let batches = 0;
  here.server.fleet.outcomes.subscribe(({ kind, version }) => {
    if (kind !== "batch" || version !== 2) return;
    batches++;
    if (batches < 8) return;
    for (const process of here.runner.processes) process.script.runMs = 0;
  });
  await here.api("POST", "models/m/rollout", { to: 2, policy });
  const { phase, verdict } = await here.until(({ over }) => over || batches >= 16);
  await stop();
  expect(phase).toBe("canary");
  const slow = verdict?.gates.find(({ gate }) => gate === "slow");
  expect(slow?.leftOut).toBe(8);
  expect(slow?.candidate.events).toBeGreaterThanOrEqual(8);
});

test("an abort ends a load that hangs, and the next rollout does not wait for it", async () => {
  await using here = await served({ 2: { load: "hangs" } });
  const stop = here.load(2);
  await here.api("POST", "models/m/rollout", { to: 2, policy: POLICY });
  const hung = async () => here.runner.alive.some(({ path }) => path === "v2");
  await expect.poll(hung).toBe(true);
  await here.api("POST", "models/m/rollout/abort", {});
  await expect.poll(hung).toBe(false);
  here.runner.scripts.set("v2", {});
  await here.api("POST", "models/m/rollout", { to: 2, policy: POLICY });
  expect(await here.until(({ over }) => over)).toMatchObject({ phase: "promoted" });
  await stop();
  expect(here.counts.failed).toBe(0);
});

test("a policy that names a webhook that is not there is refused", async () => {
  await using here = await served();
  const policy = { ...POLICY, webhooks: ["pgaer"] };
  const refused = await here.api("POST", "models/m/rollout", { to: 2, policy });
  expect(refused).toMatchObject({ status: 400, body: { error: expect.stringContaining("pgaer") } });
});

test("where the judge itself fails, stable gets everything", async () => {
  await using here = await served();
  const stop = here.load(4);
  const policy = { ...POLICY, shadow: false, autoPromote: false };
  await here.api("POST", "models/m/rollout", { to: 2, policy });
  await here.until(({ phase }) => phase === "canary");
  const broken = {
    kind: "golden",
    model: "m",
    version: 2,
    role: "candidate",
    right: true,
  } as const;
  here.server.fleet.outcomes.tell({
    ...broken,
    get atMs(): number {
      throw new Error("broken");
    },
  });
  const end = await here.until(({ over }) => over);
  await stop();
  expect(end).toMatchObject({ phase: "aborted", reason: { text: "a defect of skipway: broken" } });
  expect(here.server.fleet.entry("m")?.split).toEqual({ stable: 1, share: 0 });
});

test("what happens is listened to while a rollout is under way, and no longer", async () => {
  await using here = await served();
  const { outcomes } = here.server.fleet;
  expect(outcomes.heard("m")).toBe(false);
  const stop = here.load();
  await here.api("POST", "models/m/rollout", { to: 2, policy: POLICY });
  expect(outcomes.heard("m")).toBe(true);
  await here.until(({ over }) => over);
  await stop();
  while (outcomes.heard("m")) await new Promise((resolve) => setTimeout(resolve, 5));
  // The next one is listened to again.
  here.alias.version = 1;
  await here.server.fleet.load("m");
  await here.api("POST", "models/m/rollout", { to: 2, policy: POLICY, override: "again" });
  expect(outcomes.heard("m")).toBe(true);
});

test("orders that come before a server has taken over what was left behind are to come again", async () => {
  await using here = await served({}, { resumes: false });
  const early = await here.api("POST", "models/m/rollout/abort");
  expect(early).toMatchObject({ status: 503, body: { error: expect.stringMatching(/moment/) } });
  await here.rollouts.resume();
  expect(await here.api("POST", "models/m/rollout/abort")).toMatchObject({ status: 404 });
});

test("of two servers over one folder the second says who moves its rollouts, and takes over once that one is gone", async () => {
  const records = new MemoryRecords();
  let held = true;
  records.claim = () => !held;
  await using here = await served({}, { records });
  const policy = { ...POLICY, autoPromote: false };
  const order = (act: string, body: unknown = {}) =>
    here.api("POST", `models/m/rollout${act}`, body);
  const elsewhere = { status: 409, body: { error: expect.stringMatching(/another server over/) } };
  expect(await order("", { to: 2, policy })).toMatchObject(elsewhere);
  for (const act of ["hold", "resume", "freeze", "promote", "abort"]) {
    expect(await order(`/${act}`)).toMatchObject(elsewhere);
    expect(await order(`/${act}`, { dryRun: true })).toMatchObject(elsewhere);
  }
  held = false;
  expect(await order("/abort")).toMatchObject({ status: 404 });
  expect(await order("", { to: 2, policy })).toMatchObject({ status: 201 });
  expect(await order("/abort")).toMatchObject({ status: 200 });
});
