// Whether training runs in the runtime's blocked layout. It does where the runtime has one and a small step in it
// gives what the plain step gives; else everything runs plain.

import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { arch, cpus, homedir } from "node:os";
import { dirname, join } from "node:path";
import { Random } from "../base/random.ts";
import { float32, float32Values, int64, scalar, type Tensor } from "../graph/tensor.ts";
import { residual } from "../nn/blocks/residual.ts";
import { batchNorm, conv, dense, globalPool, relu, sequential } from "../nn/layers/index.ts";
import { buildNet } from "../nn/net.ts";
import { sgd } from "../nn/optimizer.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { blockSize } from "../runtime/block-probe.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import { runtimeInfo } from "../runtime/ort.ts";
import { gatherFlat, tensorsOf } from "./layout.ts";
import { ports, trainingProgram } from "./program.ts";

/** How a training graph is laid out: `auto` blocked where that is proven here, `plain` in standard ops alone. */
export type LoweringChoice = "auto" | "plain";

let found: Promise<number | undefined> | undefined;

/**
 * Channels in a block, where this machine's runtime trains in blocks as it does plain; undefined elsewhere. The block is
 * looked for in each process; the proof is made once for each processor, block and version of the runtime, and kept in a
 * file of the user's cache.
 */
export function trainingBlock(): Promise<number | undefined> {
  found ??= provenBlock();
  return found;
}

async function provenBlock(): Promise<number | undefined> {
  const block = await blockSize();
  if (block === undefined) return undefined;
  const { version } = await runtimeInfo();
  const cpu = cpus()[0]?.model ?? "";
  const key = JSON.stringify({ rules: RULES, version, arch: arch(), cpu, block });
  const cache = process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache");
  const file = join(cache, "skipway", "blocked-layout.json");
  const known = await readFile(file, "utf8").then(parsed, () => undefined);
  if (known?.key === key) return known.proven ? block : undefined;
  // A step that the runtime refuses proves nothing.
  const proven = await sameStep(block).catch(() => false);
  await kept(file, JSON.stringify({ key, proven }));
  return proven ? block : undefined;
}

/** Counts the versions of the lowering: what was proven of one says nothing of the next. */
const RULES = 1;

/** Largest difference between the two steps, in shares of the largest number of each kind. */
const TOLERANCE = 1e-4;

/** Runs one step of a small network with all that the lowering rewrites, both ways. */
async function sameStep(block: number): Promise<boolean> {
  const net = sequential(
    conv(block, 3, { bias: false }),
    batchNorm(),
    relu(),
    residual(block),
    residual(2 * block, { stride: 2 }),
    globalPool(),
    dense(3),
  );
  const graph = buildNet(net, { input: { name: "x", shape: [3, 6, 6] }, seed: 1 });
  const plain = await oneStep(graph, block, undefined);
  const blocked = await oneStep(graph, block, block);
  return [...plain].every(([name, values]) => {
    const other = blocked.get(name);
    return other !== undefined && isNear(values, other);
  });
}

function isNear(a: Float32Array, b: Float32Array): boolean {
  const largest = a.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-6);
  // Written so that a NaN is no small difference.
  return a.every((value, i) => Math.abs(value - (b[i] ?? Number.NaN)) <= TOLERANCE * largest);
}

async function oneStep(
  graph: Parameters<typeof trainingProgram>[0],
  batch: number,
  block: number | undefined,
): Promise<Map<string, Float32Array>> {
  const optimizer = sgd({ rate: 0.1, momentum: 0.9 });
  const program = trainingProgram(graph, {
    ...{ batch, optimizer, watch: [], block },
    // However small: it stands for large ones.
    leastGainUs: Number.NEGATIVE_INFINITY,
  });
  const random = new Random(1);
  const images = Float32Array.from({ length: batch * 108 }, () => random.uniform() - 0.5);
  const labels = Array.from({ length: batch }, () => random.integer(3));
  const { parameters, statistics } = program;
  const vector = (values: Float32Array): Tensor => float32([values.length], values);
  const feeds = new Map<string, Tensor>([
    ["x", float32([batch, 3, 6, 6], images)],
    [ports.label, int64([batch], labels)],
    [ports.parameters, vector(gatherFlat(graph, parameters))],
    [ports.momentum, vector(new Float32Array(parameters.count))],
    [ports.statistics, vector(gatherFlat(graph, statistics))],
    [ports.rate, scalar(0.1)],
  ]);
  const bytes = encodeModel(modelOf(program.graph));
  await using session = await inProcessRunner().load({ bytes });
  const outputs = await session.run(feeds);
  const values = new Map<string, Float32Array>();
  const take = (name: string, of: typeof parameters): void => {
    const flat = outputs.get(ports.next(name));
    if (flat === undefined) return;
    for (const [weight, tensor] of tensorsOf(float32Values(flat), of)) {
      values.set(`${name} ${weight}`, float32Values(tensor));
    }
  };
  take(ports.momentum, parameters);
  take(ports.statistics, statistics);
  return values;
}

function parsed(text: string): { key: string; proven: boolean } | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return undefined;
    if (!("key" in value && "proven" in value)) return undefined;
    const { key, proven } = value;
    return typeof key === "string" && typeof proven === "boolean" ? { key, proven } : undefined;
  } catch {
    return undefined;
  }
}

/** A cache that cannot be written costs the next start a moment, and nothing else. */
async function kept(file: string, text: string): Promise<void> {
  try {
    await mkdir(dirname(file), { recursive: true });
    const aside = `${file}.${process.pid}.tmp`;
    await writeFile(aside, text);
    await rename(aside, file);
  } catch {
    // Asked again next time.
  }
}
