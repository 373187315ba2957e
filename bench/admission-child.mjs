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
import { processMemory } from "../dist/runtime/memory-probe.js";
import { calibrate } from "../dist/serve/admission/calibrate.js";
import { Ledger } from "../dist/serve/admission/ledger.js";
import { memoryModelOf } from "../dist/serve/admission/memory-model.js";
import { RunPlanner } from "../dist/serve/admission/planned.js";

/** Memory goes back after each run, and a run is laid out in one block (docs/design/admission.md). */
const SETTINGS = { arena: false, memoryPattern: true };
const MIB = 1_048_576;

/** Much memory for little work, whose width is the client's choice. */
const WIDE = `
  g (float[N,W] x) => (float[N] y) <int64[1] one = {1}> {
    a = Neg (x)
    b = Exp (a)
    c = Concat <axis = 1> (a, b, x)
    y = ReduceMax <keepdims = 0> (c, one)
  }`;

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
  const [base, small] = name.split(":");
  const { build, input } = small === undefined ? zoo[base] : zoo[base].small;
  await modelOf(nn.buildNet(build(), { input, output: "y", seed: 1 })).save(path);
  return path;
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

async function bomb(requests, seed, roomMiB) {
  const random = new Random(Number(seed));
  const hosts = new Map();
  for (const name of ["wide", "cifar-resnet20", "bert-base:small"]) {
    const one = await served(name, await fileOf(name));
    one.session.resetPeak();
    const { residentBytes } = await one.session.memory();
    hosts.set(name, { ...one, residentBytes, queue: [], busy: false, asked: undefined });
  }
  const bases = [...hosts.values()].reduce((sum, one) => sum + one.residentBytes, 0);
  const budgetBytes = bases + Number(roomMiB) * MIB;
  const ledger = new Ledger({ budgetBytes, reserveBytes: 0, recyclePauseMs: 200, claimMs: 1000 });
  const start = ({ residentBytes }) => ({ loadBytes: residentBytes, residentBytes });
  for (const [name, host] of hosts) {
    ledger.open(name, start(host), 0);
    ledger.loaded(name, host.residentBytes);
  }
  const counts = { answered: 0, never: 0, failed: 0, kills: 0, settled: 0, recycled: 0, over: 0 };
  let mostBytes = 0;
  const watch = async () => {
    let sum = 0;
    // What is being ended counts no more.
    const live = [...hosts.values()].filter(({ asked }) => asked !== "recycle");
    for (const { session } of live) {
      const reading = await session.memory().catch(() => undefined);
      sum += reading?.peakResidentBytes ?? 0;
    }
    mostBytes = Math.max(mostBytes, sum);
    if (sum > budgetBytes) counts.over++;
  };
  for (let i = 0; i < Number(requests); i++) {
    const host = [...hosts.values()][random.integer(hosts.size)];
    // From one row to more than can ever fit, small ones more often.
    const rows = Math.floor(2 ** (random.uniform() * (host.name === "cifar-resnet20" ? 9.5 : 8)));
    const size = host.name === "wide" ? 2 ** (8 + random.integer(9)) : 2 ** (1 + random.integer(4));
    host.queue.push({ rows, size });
  }
  let wake = () => undefined;
  const step = (host) => {
    const { name, session, model, queue } = host;
    const now = systemClock.monotonicMs();
    if (host.busy) return;
    if (host.asked === "settle") {
      host.asked = undefined;
      host.busy = true;
      session.resetPeak();
      void session.memory().then(({ residentBytes }) => {
        ledger.settled(name, residentBytes);
        counts.settled++;
        host.busy = false;
        wake();
      });
      return;
    }
    if (host.asked === "recycle") {
      host.busy = true;
      void recycle(host).then(wake);
      return;
    }
    const [head] = queue;
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
    const fit = ledger.fits(name, admittedBytes);
    if (fit === "later") return void ledger.claim(name, admittedBytes, now);
    queue.shift();
    if (fit === "never") {
      ledger.withdraw(name);
      counts.never++;
      return void setImmediate(wake);
    }
    ledger.begin(name, admittedBytes);
    host.busy = true;
    void run(host, head).then(wake);
  };
  const run = async (host, { rows, size, shapes }) => {
    try {
      await host.session.run(inputsOf(host.session, random, rows, size));
      counts.answered++;
    } catch {
      counts.failed++;
    }
    const { peakResidentBytes } = await host.session.memory();
    host.model.observed(shapes, peakResidentBytes);
    ledger.observed(host.name, peakResidentBytes);
    ledger.end(host.name, systemClock.monotonicMs());
    await watch();
    host.busy = false;
  };
  const recycle = async (host) => {
    await host.session.close();
    ledger.ended(host.name, systemClock.monotonicMs());
    while (ledger.open(host.name, start(host), systemClock.monotonicMs()) !== "fits") {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    host.session = await childProcessRunner().load({ path: host.path }, SETTINGS);
    host.session.resetPeak();
    ledger.loaded(host.name, (await host.session.memory()).residentBytes);
    counts.recycled++;
    host.asked = undefined;
    host.busy = false;
  };
  for (const { session } of hosts.values()) {
    void session.exited.then(({ signal }) => {
      if (signal !== null) counts.kills++;
    });
  }
  const from = performance.now();
  while ([...hosts.values()].some(({ queue, busy }) => queue.length > 0 || busy)) {
    const turn = new Promise((resolve) => {
      wake = () => resolve();
    });
    for (const host of hosts.values()) step(host);
    const { actions } = ledger.reclaim(systemClock.monotonicMs());
    for (const { kind, process: name } of actions) hosts.get(name).asked = kind;
    if (actions.length > 0) continue;
    await Promise.race([turn, new Promise((resolve) => setTimeout(resolve, 50))]);
  }
  const seconds = (performance.now() - from) / 1000;
  for (const { session } of hosts.values()) await session.close();
  return { requests: Number(requests), budgetBytes, mostBytes, ...counts, seconds };
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
