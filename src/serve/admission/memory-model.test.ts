import { expect, test } from "vitest";
import { diagnostic } from "../../base/diagnostic.ts";
import { SkipwayError } from "../../base/errors.ts";
import type { Graph } from "../../graph/graph.ts";
import { parseGraph } from "../../graph/parse.ts";
import { bytesOf, tensor } from "../../graph/tensor.ts";
import type { MemoryReading, Session, Tensors } from "../../runtime/runner.ts";
import { type InputShapes, rowsOf } from "./batch-axis.ts";
import { calibrate, type Subject } from "./calibrate.ts";
import { memoryModelOf } from "./memory-model.ts";
import { RunPlanner } from "./planned.ts";

const MIB = 1_048_576;
const OPSETS = new Map([["", 20]]);
const BLOCKS = parseGraph(
  `g (float[N,65536] x) => (float[N,65536] y) { a = Neg (x)  b = Exp (x)  c = Mul (a, b)  y = Add (c, x) }`,
  { opsets: OPSETS },
);
/** As many rows as there are numbers other than zero: nobody knows before it has run. */
const UNTOLD = parseGraph(
  `g (float[N,65536] x) => (float[K,M] y) { i = NonZero (x)  t = Transpose (i)  f = Cast <to = 1> (t)  y = Neg (f) }`,
  { opsets: OPSETS },
);

const shapesOf = (rows: number): InputShapes => new Map([["x", [rows, 65_536]]]);

/** A process that takes `growth(rows)` beyond 100 MiB while it runs, and keeps nothing. */
function processOf(growth: (rows: number) => number): Subject & { ran: number[] } {
  const residentBytes = 100 * MIB;
  let peakResidentBytes = 3 * residentBytes;
  const ran: number[] = [];
  const session: Pick<Session, "inputs" | "run"> = {
    inputs: new Map([["x", { dtype: "float32", shape: ["N", 65_536] }]]),
    run: (feeds: Tensors) => {
      const rows = feeds.get("x")?.shape[0] ?? 0;
      ran.push(rows);
      peakResidentBytes = Math.max(peakResidentBytes, residentBytes + growth(rows));
      return Promise.resolve(new Map([["y", tensor("uint8", [0], bytesOf(new Uint8Array()))]]));
    },
  };
  return {
    session,
    ran,
    memory: (): Promise<MemoryReading> => Promise.resolve({ residentBytes, peakResidentBytes }),
    resetPeak: () => {
      peakResidentBytes = residentBytes;
      return true;
    },
  };
}

/** Time that stands still: no probe is too slow. */
const clock = { nowMs: () => 0, monotonicMs: () => 0 };

async function modelOf(graph: Graph, subject: Subject, budgetBytes: number = 1000 * MIB) {
  const planner = new RunPlanner(graph, true);
  return memoryModelOf(planner, await calibrate(subject, planner, { clock, budgetBytes }));
}

test("two probes give a line; what is admitted lies above it", async () => {
  const planner = new RunPlanner(BLOCKS, true);
  // What this runtime takes is half as much again as planned, and 3 MiB.
  const growth = (rows: number): number =>
    1.5 * (planner.plan(shapesOf(rows))?.peakBytes ?? 0) + 3 * MIB;
  const subject = processOf(growth);
  const model = await modelOf(BLOCKS, subject);
  expect(model.basis).toBe("planned");
  expect(new Set(subject.ran)).toEqual(new Set([1, 32]));
  for (const rows of [1, 3, 16, 50, 200, 3000]) {
    const { likelyBytes, admittedBytes } = model.estimate(shapesOf(rows));
    const mark = 100 * MIB + growth(rows);
    expect(Math.abs(likelyBytes / mark - 1)).toBeLessThan(0.05);
    expect(admittedBytes).toBeGreaterThan(mark);
  }
});

test("a slope that hardly shows is likely, and what is admitted is no less than without it", async () => {
  const planner = new RunPlanner(BLOCKS, true);
  const plan = (rows: number): number => planner.plan(shapesOf(rows))?.peakBytes ?? 0;
  const growth = (rows: number): number => 0.7 * plan(rows) + MIB;
  const subject = processOf(growth);
  // Room for 8 rows, which are planned to take 6 MiB more than one, and not for 16.
  const model = await modelOf(BLOCKS, subject, 100 * MIB + 16 * MIB + 1.5 * plan(12));
  expect(Math.max(...subject.ran)).toBe(8);
  for (const rows of [8, 50, 200]) {
    const { likelyBytes, admittedBytes } = model.estimate(shapesOf(rows));
    expect(Math.abs(likelyBytes / (100 * MIB + growth(rows)) - 1)).toBeLessThan(0.01);
    expect(admittedBytes).toBeGreaterThan(100 * MIB + 1.3 * plan(rows));
  }
});

test("rows that fit are the most whose estimate fits", async () => {
  const model = await modelOf(
    BLOCKS,
    processOf((rows) => rows * MIB),
  );
  for (const bytes of [90 * MIB, 105 * MIB, 120 * MIB, 333 * MIB, 5000 * MIB]) {
    const rows = model.rowsWithin(shapesOf(1), bytes);
    const at = (n: number): number => model.estimate(shapesOf(n)).admittedBytes;
    if (rows > 0) expect(at(rows)).toBeLessThanOrEqual(bytes);
    expect(at(rows + 1)).toBeGreaterThan(bytes);
  }
});

test("a mark beyond what was admitted is not passed again", async () => {
  const model = await modelOf(
    BLOCKS,
    processOf((rows) => rows * MIB),
  );
  const mark = model.estimate(shapesOf(8)).admittedBytes + 50 * MIB;
  model.observed(shapesOf(8), mark);
  expect(model.estimate(shapesOf(8)).admittedBytes).toBeGreaterThanOrEqual(mark);
});

test("no probe goes beyond what the process may hold", async () => {
  const subject = processOf((rows) => rows * MIB);
  await modelOf(BLOCKS, subject, 130 * MIB);
  expect(Math.max(...subject.ran)).toBeLessThan(32);
});

test("where the graph does not tell, growth that was measured bounds it", async () => {
  const growth = (rows: number): number => rows * 2 * MIB;
  const model = await modelOf(UNTOLD, processOf(growth));
  expect(model.basis).toBe("measured");
  expect(model.reason).toContain("bounded by what was measured");
  for (const rows of [1, 5, 40, 300]) {
    expect(model.estimate(shapesOf(rows)).admittedBytes).toBeGreaterThan(100 * MIB + growth(rows));
  }
  // Attention takes the square of a length that is twice as long.
  const longer = model.estimate(new Map([["x", [256, 131_072]]])).admittedBytes;
  expect(longer).toBeGreaterThan(100 * MIB + 4 * growth(256));
  model.observed(shapesOf(4), 900 * MIB);
  expect(model.estimate(shapesOf(4)).admittedBytes).toBeGreaterThanOrEqual(900 * MIB);
});

test("what values took is held against the like of them, never refused for good, and fades", async () => {
  const model = await modelOf(
    UNTOLD,
    processOf((rows) => rows * MIB),
  );
  const [small, shapes, large] = [1, 4, 8].map(shapesOf) as [InputShapes, InputShapes, InputShapes];
  const before = model.estimate(shapes);
  expect(before.firmBytes).toBe(before.admittedBytes);
  model.observed(shapes, 900 * MIB);
  const after = model.estimate(shapes);
  expect(after.admittedBytes).toBeGreaterThanOrEqual(900 * MIB);
  expect(after.firmBytes).toBe(before.firmBytes);
  expect(model.rowsWithin(shapes, before.firmBytes)).toBeGreaterThanOrEqual(4);
  expect(model.estimate(large).admittedBytes).toBeGreaterThan(after.admittedBytes);
  // Inputs that are smaller may take less for being so, and show nothing of larger ones.
  expect(model.estimate(small).admittedBytes).toBeLessThan(before.admittedBytes);
  model.stayed(small, 101 * MIB);
  expect(model.estimate(shapes)).toEqual(after);
  model.stayed(shapes, 110 * MIB);
  const once = model.estimate(shapes).admittedBytes;
  expect(once).toBeLessThan(after.admittedBytes);
  expect(once).toBeGreaterThan(before.admittedBytes);
  for (let i = 0; i < 12; i++) model.stayed(shapes, 101 * MIB);
  expect(model.estimate(shapes)).toEqual(before);
});

test("a model that is taken afresh is as it was calibrated", async () => {
  for (const graph of [BLOCKS, UNTOLD]) {
    const model = await modelOf(
      graph,
      processOf((rows) => rows * MIB),
    );
    const before = model.estimate(shapesOf(4));
    model.observed(shapesOf(4), 900 * MIB);
    expect(model.estimate(shapesOf(4))).not.toEqual(before);
    expect(model.fresh().estimate(shapesOf(4))).toEqual(before);
  }
});

test("a plan that is far off is off for values: no more than the plan again is refused for it, and it fades", async () => {
  const model = await modelOf(
    BLOCKS,
    processOf((rows) => rows * MIB),
  );
  const before = model.estimate(shapesOf(4));
  const growth = before.admittedBytes - model.residentBytes;
  model.observed(shapesOf(4), before.admittedBytes + 10 * growth);
  const far = model.estimate(shapesOf(4));
  expect(far.admittedBytes).toBe(before.admittedBytes + 10 * growth);
  expect(Math.abs(far.firmBytes - before.admittedBytes - growth)).toBeLessThan(2);
  for (let i = 0; i < 12; i++) model.stayed(shapesOf(4), before.likelyBytes);
  const faded = model.estimate(shapesOf(4));
  expect(faded.admittedBytes).toBe(faded.firmBytes);
  // What a plan may be off stays.
  expect(faded.admittedBytes).toBe(far.firmBytes);
});

test("a model of which no inputs could be run is untold where they have no plan", async () => {
  const id = "runtime/failed";
  const refused = diagnostic({ id, severity: "error", where: "x", text: "is refused", fix: "-" });
  const refuses: Subject = {
    ...processOf(() => 0),
    session: {
      inputs: new Map([["x", { dtype: "float32", shape: ["N", 65_536] }]]),
      run: () => Promise.reject(SkipwayError.fromDiagnostics("input", [refused])),
    },
  };
  expect((await modelOf(UNTOLD, refuses)).basis).toBe("measured");
  expect((await modelOf(BLOCKS, refuses)).basis).toBe("planned");
});

test("between rows that are planned, the plan is never above what is said", () => {
  const planner = new RunPlanner(BLOCKS, true);
  const exact = new RunPlanner(BLOCKS, false);
  for (const rows of [1, 2, 3, 5, 7, 13, 33, 63, 64, 100, 1000]) {
    const said = planner.plan(shapesOf(rows))?.peakBytes ?? 0;
    const planned = exact.plan(shapesOf(rows))?.peakBytes ?? 0;
    expect(said).toBeGreaterThanOrEqual(planned);
    expect(said).toBeLessThanOrEqual(1.1 * planned);
  }
  expect(rowsOf(shapesOf(3))).toBe(3);
});
