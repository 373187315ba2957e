// `skipway check MODEL`: the release gate. What must hold before a model is let near traffic, measured on this
// machine, each rule with its number.

import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { inferenceMemory, weightsBytes } from "../../analysis/memory.ts";
import { systemClock } from "../../base/clock.ts";
import { SkipwayError } from "../../base/errors.ts";
import { parseBytes } from "../../base/format.ts";
import { printable } from "../../base/printable.ts";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import type { Graph } from "../../graph/graph.ts";
import {
  type LatencyObjective,
  objectivesOf,
  parseLatencyObjective,
  parseSlo,
} from "../../observe/slo.ts";
import { readBounded, readModel } from "../../onnx/read.ts";
import { digestOf } from "../../registry/digest.ts";
import { checkModel, type RuleResult } from "../../registry/gate.ts";
import { decodeGolden, type Golden, recordGolden } from "../../registry/golden.ts";
import { decodeLabelled, type Labelled, rightOnes } from "../../registry/labelled.ts";
import type { ModelVersion, Registry } from "../../registry/registry.ts";
import {
  accuracyRule,
  baselineLatencyRule,
  hazardsRule,
  invarianceRule,
  type LoadEvidence,
  latencyRule,
  type PairedAccuracy,
  signatureRule,
} from "../../registry/rules.ts";
import { memoryLimitBytes } from "../../runtime/memory-probe.ts";
import type { Session } from "../../runtime/runner.ts";
import { batchInvariance, type Invariance } from "../../serve/invariance.ts";
import { tiesOf } from "../../serve/ties.ts";
import { loadRuns } from "../check/load-run.ts";
import { type CommonOptions, type Io, quietIo } from "../io.ts";
import { LIMIT_HELP, LIMIT_SECONDS, loadLimited } from "../limited.ts";
import { readModelFile } from "../model-file.ts";
import { wholeNumber } from "../options.ts";
import { styled } from "../render/style.ts";
import { actorName, openStored, versionNamed } from "../stored.ts";

interface CheckOptions extends CommonOptions {
  readonly data: string;
  readonly baseline?: string;
  readonly objective: readonly LatencyObjective[];
  readonly slo?: string;
  readonly memory?: number;
  readonly batch: number;
  readonly labelled?: string;
  readonly accuracy?: number;
  readonly drop: number;
  readonly rate?: number;
  readonly seconds: number;
  readonly rows: number;
  readonly limit: number;
}

/** Share of the machine's memory that a model may plan with: the rest is for the system and others. */
const BUDGET_SHARE = 0.5;

/** Adds the command. */
export function addCheck(program: Command, io: Io): void {
  program
    .command("check")
    .description("the release gate: what must hold before a model is served")
    .argument("<model>", "an ONNX file, or NAME@VERSION of the registry")
    .option("--baseline <model>", "what serves now: a file, or NAME@VERSION or NAME@ALIAS")
    .addOption(
      new Option(
        "--objective <pNN=time>",
        "bound of a latency under load, as p99=50ms; may come again",
      )
        .argParser(readObjective)
        .default([], "none"),
    )
    .option("--slo <file>", "objectives by model; slo.json of the data folder if there is one")
    .option(
      "--memory <size>",
      "what weights and activations may take (default: half of the machine)",
      readBytes,
    )
    .option("--batch <number>", "for which memory is predicted", wholeNumber(1, 1_000_000), 32)
    .option("--labelled <file>", "safetensors with the inputs and the class of each example, label")
    .option("--accuracy <share>", "of the labelled examples that must be right", readShare)
    .option("--drop <share>", "by which accuracy may be below the baseline's", readShare, 0.01)
    .option(
      "--rate <number>",
      "requests a second of the load run (default: half of what it can)",
      readRate,
    )
    .option("--seconds <number>", "of the load run", wholeNumber(1, 86_400), 10)
    .option("--rows <number>", "of each request of the load run", wholeNumber(1, 65_536), 1)
    .option("--limit <seconds>", LIMIT_HELP, wholeNumber(1, 86_400), LIMIT_SECONDS)
    .option("--data <dir>", "skipway's own folder", ".skipway")
    .option("--json", "print one JSON document")
    .option("--quiet", "no progress")
    .addHelpText(
      "after",
      "\nExample:\n  $ skipway check digits@2 --baseline digits@stable --objective p99=50ms\n",
    )
    .action((model: string, options: CheckOptions) => run(io, model, options));
}

/** A model that is checked, or what it is compared with. */
interface Subject {
  readonly text: string;
  readonly path: string;
  readonly file: Uint8Array;
  readonly graph: Graph;
  readonly digest: string;
  /** Where it is registered. */
  readonly version: ModelVersion | undefined;
  readonly golden: Golden | undefined;
}

async function run(given: Io, model: string, options: CheckOptions): Promise<void> {
  const io = options.quiet === true ? quietIo(given) : given;
  const registry = existsSync(join(resolve(options.data), "registry.db"))
    ? await openStored(options.data, "write")
    : undefined;
  try {
    const subject = await subjectOf(registry, model);
    const baseline =
      options.baseline === undefined ? undefined : await subjectOf(registry, options.baseline);
    const { rules, profile } = await examine(io, subject, baseline, options);
    const passed = rules.every((rule) => rule.passed);
    const document = {
      schema: "skipway.check/1",
      model: nameOf(subject),
      ...(baseline && { baseline: nameOf(baseline) }),
      passed,
      rules,
      profile,
    };
    if (registry !== undefined && subject.version !== undefined) {
      const report = Buffer.from(JSON.stringify(document));
      await registry.recordCheck(subject.version, { actor: actorName(), passed, report });
    }
    if (options.json === true) given.out(`${JSON.stringify(document, null, 2)}\n`);
    else given.out(`${ruleLines(rules, given.outColor).join("\n")}\n`);
    if (!passed) process.exitCode = 1;
  } finally {
    await registry?.close();
  }
}

function nameOf({ text, digest, version }: Subject): Record<string, unknown> {
  return version === undefined
    ? { path: text, digest }
    : { name: version.model, version: version.version, digest };
}

/** A file if there is one of this name, else a version of the registry. */
async function subjectOf(registry: Registry | undefined, text: string): Promise<Subject> {
  if (registry === undefined || existsSync(text)) {
    const { file, absolute, model } = await readModelFile(text);
    const graph = inferShapes(model.graph);
    const digest = digestOf(file);
    return { text, path: absolute, file, graph, digest, version: undefined, golden: undefined };
  }
  const version = await versionNamed(registry, text);
  const path = await registry.modelPath(version);
  const file = await registry.modelBytes(version);
  const golden = await registry.attachment(version, "golden");
  return {
    text,
    path,
    file,
    graph: inferShapes(readModel(file, { path }).graph),
    digest: version.digest,
    version,
    golden: golden && decodeGolden(golden),
  };
}

async function examine(
  io: Io,
  subject: Subject,
  baseline: Subject | undefined,
  options: CheckOptions,
): Promise<{ rules: RuleResult[]; profile: Record<string, unknown> }> {
  const { signal } = io;
  const budget = options.memory ?? memoryLimitBytes() * BUDGET_SHARE;
  await using session = await loaded(io, subject, options);
  // Answers that were never recorded are compared with themselves: that the model repeats them is known then.
  const golden = subject.golden ?? (await recordGolden(session, { signal }));
  const { rules } = await checkModel({
    graph: subject.graph,
    session,
    memoryBudgetBytes: budget,
    batch: options.batch,
    golden,
    signal,
  });
  const all = [...rules, hazardsRule(subject.graph, { batch: options.batch })];
  if (baseline !== undefined) all.push(signatureRule(subject.graph, baseline.graph));
  all.push(
    invarianceRule(
      await invarianceOf(session, subject),
      await baselineInvariance(io, baseline, options),
    ),
  );
  const accuracy = await accuracyOf(io, session, baseline, options);
  if (accuracy !== undefined) {
    all.push(accuracyRule(accuracy, { floor: options.accuracy, dropMax: options.drop }));
  }
  await session.close();
  const objectives = await objectivesFor(subject, options);
  const loads = await loadsOf(io, { subject, baseline, objectives }, options);
  const [load, before] = loads;
  if (load !== undefined) all.push(...objectives.map((one) => latencyRule(one, load)));
  if (load !== undefined && before !== undefined) all.push(baselineLatencyRule(load, before));
  const memory = inferenceMemory(subject.graph, { batch: options.batch });
  const profile = {
    batch: options.batch,
    peakBytes: memory.peakBytes,
    weightsBytes: weightsBytes(subject.graph),
    memoryBudgetBytes: Math.floor(budget),
    accuracy: accuracy ?? null,
    load: load ?? null,
    baselineLoad: before ?? null,
  };
  return { rules: all, profile };
}

function loaded(io: Io, { file, text }: Subject, { limit }: CheckOptions): Promise<Session> {
  return loadLimited(io, { bytes: file, name: text }, limit);
}

function invarianceOf(session: Session, { graph }: Subject): Promise<Invariance> {
  return batchInvariance(session, { clock: systemClock, ties: tiesOf(graph) });
}

async function baselineInvariance(
  io: Io,
  baseline: Subject | undefined,
  options: CheckOptions,
): Promise<Invariance | undefined> {
  if (baseline === undefined) return undefined;
  await using session = await loaded(io, baseline, options);
  return await invarianceOf(session, baseline);
}

async function accuracyOf(
  io: Io,
  session: Session,
  baseline: Subject | undefined,
  options: CheckOptions,
): Promise<PairedAccuracy | undefined> {
  const { labelled: path, accuracy } = options;
  if (path === undefined) {
    if (accuracy === undefined) return undefined;
    throw new SkipwayError(
      "usage",
      "--accuracy needs the examples that are to be right: --labelled FILE",
    );
  }
  const { signal } = io;
  const examples: Labelled = decodeLabelled(await readBounded(path), path);
  const right = await rightOnes(session, examples, { signal });
  const found = { count: right.length, right: right.filter(Boolean).length };
  if (baseline === undefined) return found;
  await using other = await loaded(io, baseline, options);
  const before = await rightOnes(other, examples, { signal });
  const where = (test: (now: boolean, then: boolean) => boolean): number =>
    right.filter((now, i) => test(now, before[i] === true)).length;
  return {
    ...found,
    baseline: {
      right: before.filter(Boolean).length,
      onlyNew: where((now, then) => now && !then),
      onlyOld: where((now, then) => !now && then),
    },
  };
}

async function objectivesFor(
  { version, text }: Subject,
  { objective, slo, data }: CheckOptions,
): Promise<readonly LatencyObjective[]> {
  const file = slo ?? join(resolve(data), "slo.json");
  if (slo === undefined && !existsSync(file)) return objective;
  const known = parseSlo(Buffer.from(await readBounded(file)).toString("utf8"), file);
  const given = new Set(objective.map(({ p }) => p));
  const { latency } = objectivesOf(known, version?.model ?? text);
  return [...objective, ...latency.filter(({ p }) => !given.has(p))];
}

/** The load run, where something is to be judged by it. */
async function loadsOf(
  io: Io,
  about: {
    subject: Subject;
    baseline: Subject | undefined;
    objectives: readonly LatencyObjective[];
  },
  { rate, seconds, rows }: CheckOptions,
): Promise<readonly LoadEvidence[]> {
  const { subject, baseline, objectives } = about;
  if (objectives.length === 0 && baseline === undefined) return [];
  const quantiles = [...new Set([0.5, 0.99, ...objectives.map(({ p }) => p)])];
  const models = baseline === undefined ? [subject] : [subject, baseline];
  return loadRuns(io, models, { rate, seconds, rows, quantiles });
}

function ruleLines(rules: readonly RuleResult[], color: boolean): string[] {
  const wide = Math.max(...rules.map(({ id }) => id.length));
  const lines = rules.map(({ id, passed, measured, text }) => {
    const known = passed ? styled("green", "pass", color) : styled("red", "FAIL", color);
    const mark = measured === false ? "----" : known;
    return `${mark}  ${id.padEnd(wide)}  ${printable(text)}`;
  });
  const failed = rules.filter(({ passed }) => !passed).length;
  const unknown = rules.filter(({ measured }) => measured === false).length;
  const verdict = failed === 0 ? "passed" : `${failed} of ${rules.length} rules failed`;
  return [...lines, unknown === 0 ? verdict : `${verdict}; not measured: ${unknown}`];
}

function readObjective(
  text: string,
  before: readonly LatencyObjective[],
): readonly LatencyObjective[] {
  const found = parseLatencyObjective(text);
  if (found !== undefined) return [...before, found];
  throw new InvalidArgumentError("it is a quantile with its bound, as p99=50ms");
}

function readBytes(text: string): number {
  const bytes = parseBytes(text);
  if (bytes !== undefined && bytes > 0) return bytes;
  throw new InvalidArgumentError("it is a number of bytes, as 512MB or 2GiB");
}

function readShare(text: string): number {
  const share = Number(text);
  if (text.trim() !== "" && share >= 0 && share <= 1) return share;
  throw new InvalidArgumentError("it is a share from 0 to 1");
}

function readRate(text: string): number {
  const rate = Number(text);
  if (rate > 0 && rate <= 100_000) return rate;
  throw new InvalidArgumentError("it is a number of requests a second");
}
