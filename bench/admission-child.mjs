// The parts of `admission.bench.ts`, each in a process of its own, with model processes as in serving.
// `predict NAME LENGTH RUNS ROWS …` compares marks with what is said of them; `bomb REQUESTS SEED` sends requests of all sizes at
// three models with a budget; `cycles COUNT` loads and unloads.

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../dist/base/clock.js";
import { Random } from "../dist/base/random.js";
import { parseGraph } from "../dist/graph/parse.js";
import * as nn from "../dist/nn/index.js";
import { zoo } from "../dist/nn/models/index.js";
import { modelOf } from "../dist/onnx/onnx-model.js";
import { readModel } from "../dist/onnx/read.js";
import { childProcessRunner } from "../dist/runtime/child-process.js";
import { madeUpInputs } from "../dist/runtime/made-up.js";
import { memoryOf, processMemory } from "../dist/runtime/memory-probe.js";
import { calibrate } from "../dist/serve/admission/calibrate.js";
import { Ledger } from "../dist/serve/admission/ledger.js";
import { memoryModelOf } from "../dist/serve/admission/memory-model.js";
import { RunPlanner } from "../dist/serve/admission/planned.js";
import { WIDE } from "./serve/wide.mjs";

/** Memory goes back after each run, and a run is laid out in one block (docs/design/admission.md). */
const SETTINGS = { arena: false, memoryPattern: true };
const MIB = 1_048_576;
/** Requests of a bomb that are under way or wait. */
const AT_ONCE = 64;

/** The memory of ResNet-20, which its first stage decides, for a third of the work: requests enough in the time there is. */
const SHALLOW = "cifar-resnet8";

const [task, ...rest] = process.argv.slice(2);
const folder = await mkdtemp(join(tmpdir(), "skipway-admission-"));
try {
  const found = await { predict, bomb, cycles }[task](...rest);
  process.stdout.write(JSON.stringify(found));
} finally {
  await rm(folder, { recursive: true, force: true });
}

async function fileOf(name) {
  const path = join(folder, `${name}.onnx`);
  if (name === "wide") {
    await modelOf(parseGraph(WIDE, { opsets: new Map([["", 20]]) })).save(path);
    return path;
  }
  const { build, input } = networkOf(name);
  await modelOf(nn.buildNet(build(), { input, output: "y", seed: 1 })).save(path);
  return path;
}

function networkOf(name) {
  if (name === SHALLOW)
    return { build: () => nn.cifarResnet(8), input: zoo["cifar-resnet20"].input };
  const [base, small] = name.split(":");
  return small === undefined ? zoo[base] : zoo[base].small;
}

/** A loaded model with its memory, as a server would have it. */
async function served(name, path, budgetBytes = 8192 * MIB) {
  const session = await childProcessRunner().load({ path }, SETTINGS);
  const { graph } = readModel(await readFile(path));
  const planner = new RunPlanner(graph, true);
  const subject = {
    session,
    memory: () => session.memory(),
    resetPeak: () => session.resetPeak(),
  };
  const from = performance.now();
  const calibration = await calibrate(subject, planner, { clock: systemClock, budgetBytes });
  const model = memoryModelOf(planner, calibration);
  return { name, path, session, model, calibratedMs: performance.now() - from };
}

function inputsOf(session, random, rows, size) {
  return madeUpInputs(session.inputs, () => random.uniform(), { rows, size });
}

function shapesOf(inputs) {
  return new Map([...inputs].map(([name, { shape }]) => [name, shape]));
}

async function predict(name, length, runs, ...rows) {
  const { session, model, calibratedMs } = await served(name, await fileOf(name));
  const random = new Random(1);
  const found = [];
  for (const count of rows.map(Number)) {
    const inputs = inputsOf(session, random, count, Number(length));
    const shapes = shapesOf(inputs);
    const from = performance.now();
    const { likelyBytes, admittedBytes } = model.estimate(shapes);
    const planMs = performance.now() - from;
    session.resetPeak();
    for (let run = 0; run < Number(runs); run++) await session.run(inputs);
    const { peakResidentBytes: mark } = await session.memory();
    model.observed(shapes, mark);
    const base = model.residentBytes;
    found.push({
      rows: count,
      measuredBytes: mark - base,
      likelyBytes: likelyBytes - base,
      admittedBytes: admittedBytes - base,
      planMs,
    });
  }
  await session.close();
  return { residentBytes: model.residentBytes, calibratedMs, found };
}

/** As `version-memory.ts` keeps the books, but with one batch of a process at a time. */
async function bomb(requests, seed, roomMiB) {
  const random = new Random(Number(seed));
  const counts = { answered: 0, never: 0, failed: 0, kills: 0, settled: 0, recycled: 0, over: 0 };
  Object.assign(counts, { refusedThatWouldFit: 0, marksAboveAdmitted: 0 });
  const failures = [];
  const hosts = new Map();
  for (const name of ["wide", SHALLOW, "bert-base:small"]) {
    const host = { ...(await served(name, await fileOf(name))), queue: [], busy: false };
    host.session.resetPeak();
    host.baseBytes = (await host.session.memory()).residentBytes;
    hosts.set(name, host);
  }
  const bases = [...hosts.values()].reduce((sum, one) => sum + one.baseBytes, 0);
  const budgetBytes = bases + Number(roomMiB) * MIB;
  const options = { budgetBytes, reserveBytes: 0, recyclePauseMs: 200, claimMs: 1000 };
  // As the server was when it had just started: what would be answered there, each request alone.
  const [ledger, fresh] = [new Ledger(options), new Ledger(options)];
  const start = ({ baseBytes }) => ({ loadBytes: baseBytes, residentBytes: baseBytes });
  /** Of a process that answers from here on. */
  const ready = (host) => {
    host.session.resetPeak();
    const { residentBytes } = memoryOf(host.session.pid);
    host.moreBytes = Math.max(0, residentBytes - host.model.residentBytes);
    return residentBytes;
  };
  const countKills = ({ session }) =>
    void session.exited.then(({ signal }) => {
      if (signal !== null) counts.kills++;
    });
  for (const [name, host] of hosts) {
    const residentBytes = ready(host);
    for (const one of [ledger, fresh]) {
      one.open(name, start(host), 0);
      one.loaded(name, residentBytes);
    }
    host.freshBytes = host.moreBytes;
    countKills(host);
  }
  let [mostBytes, mostAboveBytes] = [0, 0];
  // Read in one go, so that no mark is set back in between; what has ended has none.
  const watch = () => {
    let sum = 0;
    for (const { session } of hosts.values()) sum += memoryOf(session.pid)?.peakResidentBytes ?? 0;
    mostBytes = Math.max(mostBytes, sum);
    if (sum > budgetBytes) counts.over++;
  };
  /** Sent in their order, so many at a time: all models are under way from the first to the last. */
  let sent = 0;
  const send = () => {
    const host = [...hosts.values()][random.integer(hosts.size)];
    // From one row to more than can ever fit, small ones more often.
    const rows = Math.floor(2 ** (random.uniform() * (host.name === SHALLOW ? 9.5 : 8)));
    const size = host.name === "wide" ? 2 ** (8 + random.integer(9)) : 2 ** (1 + random.integer(4));
    host.queue.push({ rows, size });
    sent++;
  };
  const isDone = () => {
    const waiting = [...hosts.values()].reduce((sum, { queue }) => sum + queue.length, 0);
    for (let i = waiting; i < AT_ONCE && sent < Number(requests); i++) send();
    return (
      sent === Number(requests) &&
      [...hosts.values()].every(({ queue, busy }) => queue.length === 0 && !busy)
    );
  };
  let wake = () => undefined;
  const step = (host) => {
    const { name, session, model, queue } = host;
    const now = systemClock.monotonicMs();
    if (host.busy) return;
    if (host.asked === "settle") {
      host.asked = undefined;
      watch();
      ledger.settled(name, ready(host));
      counts.settled++;
    }
    if (host.asked === "recycle") {
      host.busy = true;
      void recycle(host).then(wake);
      return;
    }
    const head = queue[0];
    if (head === undefined) return;
    head.shapes ??= new Map(
      [...session.inputs].map(([input, { shape }]) => [
        input,
        shape.map((dim, axis) =>
          typeof dim === "number" ? dim : axis === 0 ? head.rows : head.size,
        ),
      ]),
    );
    const { admittedBytes } = model.estimate(head.shapes);
    const bytes = admittedBytes + host.moreBytes;
    const fit = ledger.fits(name, bytes);
    if (fit === "later") return void ledger.claim(name, bytes, now);
    queue.shift();
    if (fit === "never") {
      ledger.withdraw(name);
      counts.never++;
      if (fresh.fits(name, admittedBytes + host.freshBytes) === "fits")
        counts.refusedThatWouldFit++;
      return void setImmediate(wake);
    }
    ledger.begin(name, bytes);
    host.busy = true;
    void run(host, head).then(wake);
  };
  const run = async (host, { rows, size, shapes }) => {
    try {
      await host.session.run(inputsOf(host.session, random, rows, size));
      counts.answered++;
    } catch (error) {
      counts.failed++;
      failures.push(`${host.name}, ${rows} rows of ${size}: ${error.message}`);
    }
    const mark = memoryOf(host.session.pid)?.peakResidentBytes ?? 0;
    const excess = mark - ledger.account(host.name).markBytes;
    ledger.observed(host.name, mark);
    ledger.end(host.name, systemClock.monotonicMs());
    const { admittedBytes } = host.model.estimate(shapes);
    if (excess > 0) counts.marksAboveAdmitted++;
    mostAboveBytes = Math.max(mostAboveBytes, excess);
    host.model.observed(shapes, excess > 0 ? admittedBytes + excess : 0);
    watch();
    host.busy = false;
  };
  const recycle = async (host) => {
    watch();
    await host.session.close();
    ledger.ended(host.name, systemClock.monotonicMs());
    while (ledger.open(host.name, start(host), systemClock.monotonicMs()) !== "fits") {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    host.session = await childProcessRunner().load({ path: host.path }, SETTINGS);
    countKills(host);
    // With what loading took.
    watch();
    ledger.loaded(host.name, ready(host));
    counts.recycled++;
    host.asked = undefined;
    host.busy = false;
  };
  const from = performance.now();
  let told = from;
  while (!isDone()) {
    const turn = new Promise((resolve) => {
      wake = () => resolve();
    });
    for (const host of hosts.values()) step(host);
    const { actions } = ledger.reclaim(systemClock.monotonicMs());
    for (const { kind, process: name } of actions) hosts.get(name).asked = kind;
    if (performance.now() - told > 60_000) {
      told = performance.now();
      process.stderr.write(`${Math.round((told - from) / 1000)} s: ${JSON.stringify(counts)}\n`);
    }
    if (actions.length > 0) continue;
    await Promise.race([turn, new Promise((resolve) => setTimeout(resolve, 50))]);
  }
  const seconds = (performance.now() - from) / 1000;
  for (const { session } of hosts.values()) await session.close();
  const most = { requests: Number(requests), budgetBytes, mostBytes, mostAboveBytes };
  return { ...most, ...counts, failures: failures.slice(0, 20), seconds };
}

async function cycles(count) {
  const path = await fileOf("cifar-resnet20");
  const runner = childProcessRunner();
  const once = async () => {
    const session = await runner.load({ path }, SETTINGS);
    await session.run(inputsOf(session, new Random(1), 8, 1));
    await session.close();
  };
  // The first ones load code and warm what stays.
  for (let i = 0; i < 5; i++) await once();
  globalThis.gc();
  const beforeBytes = processMemory().residentBytes;
  for (let i = 0; i < Number(count); i++) await once();
  globalThis.gc();
  const afterBytes = processMemory().residentBytes;
  return { cycles: Number(count), beforeBytes, afterBytes, growthBytes: afterBytes - beforeBytes };
}
