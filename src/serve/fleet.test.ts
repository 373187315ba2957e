import { describe, expect, test } from "vitest";
import { present } from "../base/assert.ts";
import { SkipwayError } from "../base/errors.ts";
import { Random } from "../base/random.ts";
import { RequestError } from "./errors.ts";
import { following, model, setUp, traffic, until } from "./fleet.test-helper.ts";
import type { Script } from "./scripted-runner.test-helper.ts";

// The life of models with processes that do as they are told.

describe("the life of models", () => {
  test("versions side by side; the newest answers where none is named", async () => {
    const { runner, serve, ask, fleet } = setUp();
    runner.scripts.set("m2", { gain: 5 });
    await serve(model(1), model(2));
    expect(await ask()).toEqual({ y: 15, version: 2 });
    expect(await ask({ version: "1" })).toEqual({ y: 6, version: 1 });
    expect(fleet.find("m", "3")).toBeUndefined();
    expect(fleet.find("m", "01")).toBeUndefined();
    expect(fleet.find("n")).toBeUndefined();
    expect(fleet.index()).toEqual([
      { name: "m", version: "1", state: "READY", reason: "" },
      { name: "m", version: "2", state: "READY", reason: "" },
    ]);
    // A new version does not load its siblings again.
    expect(runner.processes.map(({ path }) => path)).toEqual(["m1", "m2"]);
  });

  test("two hundred reloads under load: no request fails, no process is left", async () => {
    const { runner, serve, ask, fleet } = setUp({ probeEveryMs: 1e6 });
    runner.scripts.set("m1", { runMs: 1 });
    await serve(model());
    const load = traffic(ask);
    for (let i = 0; i < 200; i++) await fleet.load("m");
    const answered = await load.stop();
    expect(load.failures).toEqual([]);
    expect(answered).toBeGreaterThan(200);
    expect(runner.processes.length).toBe(201);
    await until(() => runner.alive.length === 1);
    // The count of a version goes on through its reloads.
    expect(fleet.stats()[0]?.requests).toBe(answered);
  });

  test.each([
    ["the split's", undefined],
    ["a named version's", "1"],
  ])(
    "%s requests that wait for a process that dies in its drain go to the next one",
    async (_whose, version) => {
      const { runner, serve, ask, fleet } = setUp({ probeEveryMs: 1e6, maxBatchRows: 1 });
      await serve(model());
      const [old] = runner.processes;
      Object.assign(old?.script ?? {}, { run: "hangs" });
      const before = old?.runs.length ?? 0;
      const asked = Array.from({ length: 6 }, () => ask(version === undefined ? {} : { version }));
      await until(() => (old?.runs.length ?? 0) > before);
      await fleet.load("m");
      old?.die();
      const ended = await Promise.allSettled(asked);
      const lost = ended.filter(({ status }) => status === "rejected");
      // What it computed is lost with it.
      expect(lost).toMatchObject([{ reason: { status: 503, reason: "process-died" } }]);
      expect(ended.filter(({ status }) => status === "fulfilled")).toEqual(
        Array(5).fill({ status: "fulfilled", value: { y: 6, version: 1 } }),
      );
      expect(fleet.stats()[0]).toMatchObject({ requests: 5, failures: { "process-died": 1 } });
    },
  );

  test("a drained version's go to stable, unless they have named it", async () => {
    const { runner, serve, ask, fleet } = setUp({ probeEveryMs: 1e6, maxBatchRows: 1 });
    await serve(model(1), model(2));
    const [, two] = runner.processes;
    Object.assign(two?.script ?? {}, { run: "hangs" });
    const flying = ask();
    const waiting = [ask(), ask({ version: "2" })];
    await until(() => (two?.runs.length ?? 0) > 1);
    fleet.setSplit("m", { stable: 1, share: 0 });
    const drained = fleet.drain("m", 2);
    await until(() => !fleet.versionsOf("m").includes(2));
    two?.die();
    await expect(flying).rejects.toMatchObject({ reason: "process-died" });
    const [moved, named] = await Promise.allSettled(waiting);
    expect(moved).toMatchObject({ status: "fulfilled", value: { y: 6, version: 1 } });
    expect(named).toMatchObject({ status: "rejected", reason: { reason: "not-ready" } });
    await drained;
  });

  test("a reload that fails keeps what was served, and says why", async () => {
    const { runner, serve, ask, fleet } = setUp();
    await serve(model());
    runner.scripts.set("m1", { load: "fails" });
    await expect(fleet.load("m")).rejects.toThrow("broken");
    expect((await ask()).y).toBe(6);
    expect(fleet.index()[0]).toMatchObject({
      state: "READY",
      reason: expect.stringContaining("broken"),
    });
    expect(fleet.ready()).toBe(true);
    runner.scripts.set("m1", {});
    await fleet.load("m");
    expect(fleet.index()[0]?.reason).toBe("");
  });

  test("a load that hangs ends with an unload; the name can be loaded again", async () => {
    const { runner, source, ask, fleet } = setUp();
    source.add(model());
    runner.scripts.set("m1", { load: "hangs" });
    const loading = fleet.load("m");
    loading.catch(() => undefined);
    await until(() => runner.processes.length > 0);
    expect(fleet.index()).toEqual([{ name: "m", version: "1", state: "LOADING", reason: "" }]);
    await fleet.unload("m");
    await expect(loading).rejects.toThrow();
    expect(runner.alive.length).toBe(0);
    await fleet.sync();
    expect(fleet.index()).toEqual([
      { name: "m", version: "", state: "UNAVAILABLE", reason: "unloaded" },
    ]);
    runner.scripts.set("m1", {});
    await fleet.load("m");
    expect((await ask()).y).toBe(6);
  });

  test("a model that hangs while the source is looked at holds up no other", async () => {
    const { fleet, runner, source, ask } = setUp();
    runner.scripts.set("a1", { load: "hangs" });
    for (const name of ["a", "b", "c"]) source.add(model(1, name));
    const looked = fleet.sync();
    await until(() => fleet.find("b")?.ready === true && fleet.find("c")?.ready === true);
    await expect(ask({ name: "c" })).resolves.toMatchObject({ y: 6 });
    expect(fleet.index().find(({ name }) => name === "a")?.state).toBe("LOADING");
    await fleet.unload("a");
    await looked;
  });

  test("an unload ends loads that wait behind one that hangs, too", async () => {
    const { runner, ask, fleet, serve } = setUp({ probeEveryMs: 1e6 });
    await serve(model());
    runner.scripts.set("m1", { run: "hangs" });
    const first = fleet.load("m");
    await until(() => runner.processes.length === 2);
    const second = fleet.load("m");
    const ends = Promise.allSettled([first, second]);
    await fleet.unload("m");
    expect((await ends).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    await until(() => runner.alive.length === 0);
    expect(runner.processes.length).toBe(2);
    runner.scripts.set("m1", {});
    await fleet.load("m");
    expect((await ask()).y).toBe(6);
  });

  test("one version is drained under load: no request fails, and it stays away until it is loaded by hand", async () => {
    const { runner, serve, ask, fleet } = setUp({ probeEveryMs: 1e6 });
    runner.scripts.set("m2", { runMs: 5 });
    await serve(model(1), model(2));
    fleet.setSplit("m", { stable: 1, candidate: 2, share: 0.5 });
    const load = traffic(() => ask());
    await expect(fleet.drain("m", 1)).rejects.toMatchObject({ status: 409 });
    await expect(fleet.drain("m", 3)).rejects.toMatchObject({ status: 404 });
    await expect(fleet.drain("n", 1)).rejects.toMatchObject({ status: 404 });
    await fleet.drain("m", 2);
    expect(runner.alive.map(({ path }) => path)).toEqual(["m1"]);
    expect(fleet.entry("m")?.split).toEqual({ stable: 1, share: 0 });
    await fleet.sync();
    expect(fleet.versionsOf("m")).toEqual([1]);
    await load.stop();
    expect(load.failures).toEqual([]);
    await fleet.load("m");
    expect(fleet.versionsOf("m")).toEqual([1, 2]);
  });

  test("loads, unloads and requests all at once: in the end there is one process or none", async () => {
    const { runner, serve, ask, fleet } = setUp({ probeEveryMs: 1e6 });
    await serve(model());
    const load = traffic(() => ask());
    const random = new Random(3);
    const changes: Promise<unknown>[] = [];
    for (let i = 0; i < 60; i++) {
      const change = random.uniform() < 0.6 ? fleet.load("m") : fleet.unload("m");
      changes.push(change.catch(() => undefined));
      if (random.uniform() < 0.3) await new Promise((resolve) => setTimeout(resolve, 3));
    }
    await Promise.all(changes);
    await load.stop();
    // A request of a model that is away is refused; none fails in another way.
    const statuses = load.failures.map((one) => (one instanceof RequestError ? one.status : one));
    expect(new Set(statuses)).toEqual(
      new Set(statuses.filter((one) => one === 404 || one === 503)),
    );
    await fleet.load("m");
    await until(() => runner.alive.length === 1);
    expect((await ask()).y).toBe(6);
    await fleet.unload("m");
    expect(runner.alive.length).toBe(0);
    await expect(fleet.load("n")).rejects.toMatchObject({ status: 404 });
  });

  test("the source is followed: a new stable version, an old one that goes, a bad one that is not tried twice", async () => {
    const wanted = { m: { stable: 1, versions: [1] } };
    const { runner, fleet: followed } = following(wanted);
    await followed.sync();
    await followed.sync();
    expect(runner.processes).toHaveLength(1);
    wanted.m = { stable: 2, versions: [2] };
    await followed.sync();
    await until(() => runner.alive.length === 1);
    expect(followed.versionsOf("m")).toEqual([2]);
    expect(followed.entry("m")?.split).toEqual({ stable: 2, share: 0 });
    runner.scripts.set("m3", { load: "fails" });
    wanted.m = { stable: 3, versions: [3] };
    await followed.sync();
    await followed.sync();
    expect(runner.processes.filter(({ path }) => path === "m3")).toHaveLength(1);
    expect(followed.ready()).toBe(true);
    expect(followed.index()).toMatchObject([
      { version: "2", state: "READY" },
      { version: "3", state: "UNAVAILABLE", reason: expect.stringContaining("broken") },
    ]);
  });
});

describe("the source", () => {
  test("a split set by hand is not moved by the alias, which is told once, until it is handed back", async () => {
    const wanted = { m: { stable: 2, versions: [1, 2] } };
    const { fleet, notices } = following(wanted);
    await fleet.sync();
    fleet.setSplit("m", { stable: 2, share: 0 });
    await fleet.sync();
    expect(notices).toEqual([]);
    wanted.m = { stable: 1, versions: [1, 2] };
    await fleet.sync();
    await fleet.sync();
    expect(fleet.entry("m")).toMatchObject({ split: { stable: 2 }, owner: "hand" });
    expect(notices).toEqual([expect.stringMatching(/^m: stable is version 1.*keeps version 2/)]);
    await fleet.follow("m");
    expect(fleet.entry("m")).toMatchObject({ split: { stable: 1, share: 0 }, owner: "source" });
    fleet.setSplit("m", { stable: 1, share: 0 }, { by: "rollout" });
    await expect(fleet.follow("m")).rejects.toMatchObject({ status: 409 });
    await expect(fleet.follow("n")).rejects.toMatchObject({ status: 404 });
  });

  test("the server is ready beside a model that has never answered, and not while one that has does not", async () => {
    const wanted: Record<string, { stable: number; versions: number[] }> = {
      good: { stable: 1, versions: [1] },
      broken: { stable: 1, versions: [1] },
    };
    const { fleet, runner } = following(wanted);
    runner.scripts.set("broken1", { load: "hangs" });
    const first = fleet.sync();
    const broken = () => runner.processes.find(({ path }) => path === "broken1");
    await until(() => fleet.hosts().length === 1 && broken() !== undefined);
    expect(fleet.ready()).toBe(false);
    broken()?.die();
    await first;
    expect(fleet.ready()).toBe(true);
    runner.scripts.set("slow1", { load: "hangs" });
    wanted["slow"] = { stable: 1, versions: [1] };
    const second = fleet.sync();
    await until(() => runner.processes.some(({ path }) => path === "slow1"));
    expect(fleet.ready()).toBe(true);
    runner.scripts.set("good1", { load: "hangs" });
    runner.processes.find(({ path }) => path === "good1")?.die();
    await until(() => !fleet.ready());
    await fleet.stop();
    await second;
  });
});

describe("what is told", () => {
  test("a load that fails: over the network without folders, here with them", async () => {
    const { source, fleet, notices } = setUp();
    source.add(model(4));
    const where = "/srv/my models/m.onnx";
    source.version = () => Promise.reject(new SkipwayError("input", `${where}: cannot be read`));
    await fleet.sync();
    const [row] = fleet.index();
    expect(row).toMatchObject({ version: "4", state: "UNAVAILABLE" });
    expect(row?.reason).toContain("m.onnx: cannot be read");
    expect(row?.reason).not.toContain("/srv/");
    expect(notices).toEqual([`m version 4 is not served: ${where}: cannot be read`]);
  });

  test("that a model is not watched, where it answers nothing that could be made up", async () => {
    const { runner, serve, ask, fleet, notices } = setUp();
    runner.scripts.set("m1", { run: "refuses" });
    await serve(model());
    expect(fleet.index()).toMatchObject([
      { state: "READY", reason: expect.stringContaining("not watched") },
    ]);
    expect(notices).toEqual([expect.stringContaining("not watched")]);
    Object.assign(runner.processes[0]?.script ?? {}, { run: "well" });
    expect((await ask()).y).toBe(6);
  });

  test("that a process hung, to whom it owes an answer, too", async () => {
    const { runner, serve, ask, fleet, notices } = setUp();
    await serve(model());
    Object.assign(runner.processes[0]?.script ?? {}, { run: "hangs" });
    const error = await ask().catch((reason: unknown) => reason);
    expect(error).toMatchObject({ status: 503, message: expect.stringContaining("not answered") });
    await until(() => fleet.ready());
    expect(notices).toEqual([expect.stringMatching(/^m version 1: .*not answered.*\(stuck\)/)]);
  });

  test("nothing of a process that answers before it is looked at a second time", async () => {
    const { runner, serve, ask, fleet, notices } = setUp();
    await serve(model());
    const [first] = runner.processes;
    const { script, runs } = present(first, "it is served");
    await until(() => fleet.hosts().every(({ engine }) => engine.idle));
    // Longer than it may take, shorter than until the second look.
    script.runMs = 120;
    const before = runs.length;
    const answer = ask();
    await until(() => runs.length > before);
    script.runMs = 0;
    expect((await answer).y).toBe(6);
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(first?.alive).toBe(true);
    expect(notices).toEqual([]);
  });
});

describe("processes that go wrong", () => {
  test.each<[string, Partial<Script>, string]>([
    ["hangs", { run: "hangs" }, "stuck"],
    ["answers wrongly", { gain: 2.5 }, "wrong-answer"],
    ["always fails", { run: "fails" }, "wrong-answer"],
  ])("one that %s is not ready, and is replaced with the cause", async (_what, change, cause) => {
    const { runner, serve, ask, fleet } = setUp();
    await serve(model());
    const [first] = runner.processes;
    const seen: string[] = [];
    fleet.onState(() => seen.push(fleet.stats()[0]?.state ?? ""));
    Object.assign(first?.script ?? {}, change);
    await until(() => runner.processes.length === 2 && fleet.ready());
    expect(seen).toContain("restarting");
    expect(first?.alive).toBe(false);
    expect((await ask()).y).toBe(6);
    expect(fleet.stats()[0]).toMatchObject({ restarts: 1, restartsByCause: { [cause]: 1 } });
  });

  test("one that hangs on a request is found long before the next question of the server's own", async () => {
    const { runner, serve, ask, fleet } = setUp({ probeEveryMs: 1e6 });
    await serve(model());
    Object.assign(runner.processes[0]?.script ?? {}, { run: "hangs" });
    await expect(ask()).rejects.toMatchObject({ status: 503 });
    await until(() => runner.processes.length === 2 && fleet.ready());
    expect(fleet.stats()[0]?.restartsByCause).toEqual({ stuck: 1 });
  });

  test("what was sent is lost with its process, what waited is answered by the next", async () => {
    const { runner, serve, ask, fleet } = setUp({ probeEveryMs: 1e6 });
    runner.scripts.set("m1", { runMs: 30 });
    await serve(model());
    const all = Array.from({ length: 5 }, () =>
      ask().then(
        () => 200,
        (e: RequestError) => e.status,
      ),
    );
    await until(() => (runner.processes[0]?.runs.length ?? 0) > 1);
    runner.processes[0]?.die("out-of-memory");
    const statuses = await Promise.all(all);
    expect(statuses.filter((one) => one === 503)).toHaveLength(1);
    expect(statuses.filter((one) => one === 200)).toHaveLength(4);
    expect(fleet.stats()[0]?.restartsByCause).toEqual({ "out-of-memory": 1 });
  });

  test("a spare takes over at once: only what was under way is lost", async () => {
    const { runner, serve, ask, fleet } = setUp({ spare: true });
    await serve(model());
    await until(() => fleet.stats()[0]?.sparePid !== undefined && runner.alive.length === 2);
    await until(() => runner.processes[1]?.runs.length !== 0);
    await new Promise((resolve) => setTimeout(resolve, 10));
    runner.scripts.set("m1", { load: "hangs" });
    runner.processes[0]?.die();
    await new Promise((resolve) => setTimeout(resolve, 0));
    expect(fleet.ready()).toBe(true);
    expect((await ask()).y).toBe(6);
    expect(fleet.stats()[0]?.pid).toBe(2);
    expect(runner.most).toBeLessThanOrEqual(3);
  });

  test("a stop does not wait for the pause before the next start", async () => {
    const { runner, serve, fleet } = setUp();
    await serve(model());
    runner.scripts.set("m1", { load: "fails" });
    runner.processes[0]?.die();
    await until(() => runner.processes.length >= 4);
    await fleet.stop();
    expect(runner.alive.length).toBe(0);
  });
});

describe("the split", () => {
  test("shares the requests, keeps keys, and never picks what is not ready", async () => {
    const { runner, serve, ask, fleet } = setUp();
    await serve(model(1), model(2));
    fleet.setSplit("m", { stable: 1, candidate: 2, share: 0.5 });
    const versions = await Promise.all(Array.from({ length: 200 }, () => ask()));
    const candidates = versions.filter(({ version }) => version === 2).length;
    expect(candidates).toBeGreaterThan(60);
    expect(candidates).toBeLessThan(140);
    const keyed = await Promise.all(Array.from({ length: 20 }, () => ask({ key: "one user" })));
    expect(new Set(keyed.map(({ version }) => version)).size).toBe(1);
    runner.scripts.set("m2", { load: "hangs" });
    runner.processes.find(({ path }) => path === "m2")?.die();
    await until(() => !(fleet.entry("m")?.hosts.get(2)?.ready ?? true));
    const after = await Promise.all(Array.from({ length: 50 }, () => ask()));
    expect(new Set(after.map(({ version }) => version))).toEqual(new Set([1]));
    expect(() => fleet.setSplit("m", { stable: 1, candidate: 2, share: 0.5 })).toThrow("not ready");
    expect(() => fleet.setSplit("m", { stable: 9, share: 0 })).toThrow("9 is not loaded");
    expect(() => fleet.setSplit("n", { stable: 1, share: 0 })).toThrow("no model");
  });

  test("a shadow is asked in idle moments and compared; one that hangs or dies moves nothing", async () => {
    const { runner, serve, ask, fleet } = setUp({ probeEveryMs: 1e6 });
    runner.scripts.set("m2", { gain: 2.5 });
    await serve(model(1), model(2));
    fleet.setSplit("m", { stable: 1, share: 0, shadow: 2 });
    const report = () => fleet.entry("m")?.shadow.report();
    for (let i = 0; i < 20 && report()?.compared !== 5; i++) {
      expect(await ask()).toEqual({ y: 6, version: 1 });
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(report()).toMatchObject({ version: 2, outputs: { y: { maxAbs: 1.5, top1Flips: 0 } } });
    expect(report()?.outputs["y"]?.maxRel).toBeCloseTo(0.2);
    const shadowed = runner.processes.find(({ path }) => path === "m2");
    Object.assign(shadowed?.script ?? {}, { run: "hangs" });
    const before = report()?.dropped ?? 0;
    for (let i = 0; i < 20; i++) expect((await ask()).y).toBe(6);
    await until(() => (report()?.dropped ?? 0) > before);
    shadowed?.die();
    for (let i = 0; i < 20; i++) expect((await ask()).y).toBe(6);
    expect(fleet.stats().find(({ version }) => version === 2)?.requests).toBe(0);
  });

  test("a shadow that dies is started again only once clients would wait for it, stable at once", async () => {
    const { runner, serve, fleet } = setUp();
    // It is asked some questions before it is ready, which takes the longer, and so does its rest.
    runner.scripts.set("m2", { runMs: 30 });
    await serve(model(1), model(2));
    fleet.setSplit("m", { stable: 1, share: 0, shadow: 2 });
    const started = (path: string) => runner.processes.filter((one) => one.path === path).length;
    for (const process of [...runner.alive]) process.die();
    await until(() => started("m1") === 2 && fleet.ready());
    await until(() => fleet.stats()[1]?.state === "restarting");
    expect(started("m2")).toBe(1);
    fleet.setSplit("m", { stable: 1, candidate: 2, share: 0.5 }, { by: "rollout" });
    await until(() => fleet.stats()[1]?.state === "ready");
    expect(started("m2")).toBe(2);
    fleet.setSplit("m", { stable: 1, share: 0 }, { by: "rollout" });
  });
});
