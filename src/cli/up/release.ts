// The middle of the main job: census, check and registration of a model file. What is decided here is
// stored beside the version, so that the next start only has to read it.

import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { census } from "../../analysis/census.ts";
import { drawPicture } from "../../analysis/draw.ts";
import { type Picture, pictureOf } from "../../analysis/picture/picture.ts";
import type { Census } from "../../analysis/skips/skip.ts";
import { diagnostic } from "../../base/diagnostic.ts";
import { SkipwayError } from "../../base/errors.ts";
import { printable } from "../../base/printable.ts";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import type { TrainingRecord } from "../../dashboard/api.ts";
import { float32 } from "../../graph/tensor.ts";
import { readModel } from "../../onnx/read.ts";
import { type CheckReport, checkModel } from "../../registry/gate.ts";
import { encodeGolden, type Golden, recordGolden } from "../../registry/golden.ts";
import { diskRefused } from "../../registry/refused.ts";
import type { ModelVersion, Registry, VersionMetadata } from "../../registry/registry.ts";
import { childProcessRunner } from "../../runtime/child-process.ts";
import { memoryLimitBytes } from "../../runtime/memory-probe.ts";
import type { Session } from "../../runtime/runner.ts";
import type { Dataset } from "../../train/data.ts";
import type { Io } from "../io.ts";
import { censusSummary, censusTable } from "../render/census.ts";
import { styled } from "../render/style.ts";

/** Share of the machine's memory that a model may plan with: the rest is for the system and others. */
const BUDGET_SHARE = 0.5;
/** The batch for which memory is predicted. */
const CHECK_BATCH = 32;
/** Golden digits that are recorded after a training. */
const GOLDEN_COUNT = 16;

/** A model on its way into the registry. */
export interface Candidate {
  readonly name: string;
  readonly file: Uint8Array;
  /** Where it came from, for messages. */
  readonly path: string;
  readonly metadata: VersionMetadata;
  readonly training?: TrainingRecord;
  readonly holdout?: { readonly data: Dataset; readonly floor: number };
}

/** A model in the registry, with what was found on the way. */
export interface Released {
  readonly version: ModelVersion;
  readonly created: boolean;
  readonly census: Census;
  readonly report: CheckReport;
}

/**
 * Takes a candidate through census, check and registration, and points `stable` at it.
 *
 * @throws SkipwayError `check` when a rule fails; nothing is registered then.
 */
export async function release(
  io: Io,
  registry: Registry,
  candidate: Candidate,
  folder: string,
): Promise<Released> {
  const { graph } = readModel(candidate.file, { path: candidate.path });
  const shaped = inferShapes(graph);
  const found = census(shaped);
  const picture = pictureOf(shaped, found, candidate.name);
  showCensus(io, found);
  const svg = join(folder, `${candidate.name}-skips.svg`);
  await writeWhole(svg, drawPicture(picture));
  io.err(`  picture: ${svg}\n`);
  const { report, golden } = await check(io, candidate, shaped);
  const attachments = new Map([
    ...censusAttachments(found, picture),
    ["check", checkDocument(report)],
  ]);
  if (golden !== undefined) attachments.set("golden", Buffer.from(encodeGolden(golden)));
  if (candidate.training !== undefined) {
    attachments.set("training", Buffer.from(JSON.stringify(candidate.training)));
  }
  showReport(io, report);
  if (candidate.training === undefined) io.err(`  ${goldenNote(golden)}\n`);
  if (!report.passed) throw failedCheck(candidate, report);
  const { name, file, metadata } = candidate;
  const { version, created } = await registry.push(name, file, { metadata, attachments });
  const stored = { actor: "skipway up", passed: report.passed, report: checkDocument(report) };
  await registry.recordCheck(version, stored);
  await registry.setAlias(name, "stable", version.version, {
    actor: "skipway up",
    reason: "passed the release checks",
  });
  showRegistered(io, version, created);
  return { version, created, census: found, report };
}

/** What the pages show of a version's skips. */
export function censusAttachments(found: Census, picture: Picture): Map<string, Uint8Array> {
  return new Map([
    ["picture", Buffer.from(drawPicture(picture))],
    ["picture-data", Buffer.from(JSON.stringify(picture))],
    ["census", Buffer.from(JSON.stringify(found))],
  ]);
}

/** A report as it is stored. */
function checkDocument(report: CheckReport): Uint8Array {
  return Buffer.from(JSON.stringify(report));
}

/** Prints the census. */
export function showCensus(io: Io, found: Census): void {
  io.err(`${styled("bold", "Census", io.color)}  ${censusSummary(found)}\n`);
  for (const line of censusTable(found, { width: io.columns - 2, color: io.color }))
    io.err(`  ${line}\n`);
  for (const hazard of found.hazards) io.err(`  ${hazard.severity}: ${printable(hazard.text)}\n`);
}

/** Prints the answers of the gate. */
export function showReport(io: Io, report: CheckReport): void {
  io.err(`${styled("bold", "Check", io.color)}\n`);
  for (const { id, passed, text } of report.rules) {
    const mark = passed ? styled("green", "pass", io.color) : styled("red", "FAIL", io.color);
    io.err(`  ${mark}  ${id.padEnd(9)} ${printable(text)}\n`);
  }
}

/** Prints what the registry made of it. */
export function showRegistered(io: Io, version: ModelVersion, created: boolean): void {
  const what = created ? "" : " (the same content as before: no new version)";
  io.err(
    `${styled("bold", "Register", io.color)}  ${version.model} version ${version.version}, alias stable${what}\n  ${version.digest}\n`,
  );
}

async function check(
  io: Io,
  candidate: Candidate,
  graph: Parameters<typeof checkModel>[0]["graph"],
): Promise<{ report: CheckReport; golden: Golden | undefined }> {
  const { signal } = io;
  try {
    await using session = await childProcessRunner().load(
      { bytes: candidate.file, name: candidate.path },
      { signal },
    );
    const golden = await goldenFor(session, candidate, signal);
    const report = await checkModel({
      graph,
      session,
      memoryBudgetBytes: memoryLimitBytes() * BUDGET_SHARE,
      batch: CHECK_BATCH,
      golden,
      holdout: candidate.holdout,
      signal,
    });
    return { report, golden };
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new SkipwayError("interrupted", "the check was interrupted: nothing was registered");
  }
}

/** What is known of a model's answers before it was ever checked. */
function goldenNote(golden: Golden | undefined): string {
  return golden === undefined
    ? "no recorded answers are known, and none can be recorded: its inputs cannot be made up"
    : "no recorded answers are known yet: those to made-up inputs are recorded now";
}

/** The answers to the first digits of the holdout, or of seeded inputs for a model from elsewhere. */
async function goldenFor(
  session: Session,
  candidate: Candidate,
  signal: AbortSignal,
): Promise<Golden | undefined> {
  const data = candidate.holdout?.data;
  if (data === undefined) return recordGolden(session, { signal });
  const size = data.input.shape.reduce((a, b) => a * b, 1);
  const images = data.holdout.inputs.slice(0, GOLDEN_COUNT * size);
  const input = float32([GOLDEN_COUNT, ...data.input.shape], images);
  return recordGolden(session, { inputs: new Map([[data.input.name, input]]), signal });
}

function failedCheck(candidate: Candidate, report: CheckReport): SkipwayError {
  const failed = report.rules.filter((rule) => !rule.passed);
  return SkipwayError.fromDiagnostics(
    "check",
    failed.map((rule) =>
      diagnostic({
        id: `check/${rule.id}`,
        severity: "error",
        where: candidate.path,
        text: `the release is stopped: ${rule.text}`,
        fix: "Mend the model and start again; nothing was registered and the alias stable stays where it was.",
      }),
    ),
  );
}

async function writeWhole(path: string, text: string): Promise<void> {
  const aside = `${path}.${process.pid}.tmp`;
  try {
    await writeFile(aside, text);
    await rename(aside, path);
  } catch (cause) {
    throw diskRefused(path, cause);
  }
}
