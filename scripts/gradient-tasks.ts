// The gradient suite as tasks that processes share: the cases of an op, some random graphs, a network.

import type { Finding } from "../test/gradients/check.ts";
import { innerProductFaults } from "../test/gradients/inner-product.ts";
import { MODELS, zooCases } from "../test/gradients/model-cases.ts";
import {
  checkForms,
  checkModel,
  checkTogether,
  checkTwice,
  type ModelFinding,
} from "../test/gradients/models.ts";
import { checkOp, checkSecondOf, covered, faultsOf } from "../test/gradients/suite.ts";

/** What one process does at a time. */
export type Task =
  | { readonly kind: "op"; readonly op: string; readonly cases: number }
  | { readonly kind: "graphs"; readonly from: number; readonly to: number }
  /** One of the small networks, or of the zoo. */
  | { readonly kind: "network" | "zoo"; readonly name: string };

/** What came of a task. */
export interface Outcome {
  /** To be printed. */
  readonly lines: readonly string[];
  readonly failed: number;
  /** Of the cases of an op. */
  readonly findings: readonly Finding[];
}

const FAULTS_SHOWN = 5;
/** Elements of each parameter of a small network that are moved by themselves. */
const ENTRIES = 12;

/** All networks. */
export function networkTasks(): Task[] {
  return [
    ...zooCases().map(({ name }): Task => ({ kind: "zoo", name })),
    ...MODELS.map(({ name }): Task => ({ kind: "network", name })),
  ];
}

/** Does one task. */
export async function perform(task: Task): Promise<Outcome> {
  if (task.kind === "op") return checkedOp(task.op, task.cases);
  if (task.kind === "graphs") return randomGraphs(task.from, task.to);
  return checkedNetwork(task);
}

async function checkedOp(op: string, cases: number): Promise<Outcome> {
  const findings = await checkOp(op, 0, cases);
  const reasons = new Set(findings.flatMap((finding) => finding.needsStatic ?? []));
  const second = covered().includes(op) ? checkSecondOf(op, 0, cases) : [];
  const faults = faultsOf(findings);
  const wrong = second.filter(({ kind }) => kind === "wrong" || kind === "refused");
  return {
    lines: [
      lineOf(op, findings),
      ...[...reasons].map((reason) => `  static: ${reason}`),
      ...faults.slice(0, FAULTS_SHOWN).map((fault) => `  ${fault}`),
      ...wrong.slice(0, FAULTS_SHOWN).map((one) => `  second: ${JSON.stringify(one)}`),
    ],
    failed: faults.length + wrong.length,
    findings,
  };
}

function lineOf(op: string, findings: readonly Finding[]): string {
  const forms = new Set(findings.map((finding) => finding.form)).size;
  const fixed = findings.filter((finding) => finding.needsStatic !== undefined).length;
  const worst = (pick: (finding: Finding) => number): string =>
    Math.max(0, ...findings.map(pick)).toExponential(1);
  return [
    op.padEnd(36),
    String(forms).padStart(6),
    String(findings.length).padStart(6),
    worst((finding) => finding.worst64).padStart(10),
    worst((finding) => finding.worst32).padStart(10),
    fixed === 0 ? "" : `  ${fixed} need sizes`,
  ].join("");
}

function randomGraphs(from: number, to: number): Outcome {
  const lines: string[] = [];
  let failed = 0;
  for (let seed = from; seed < to; seed++) {
    const faults = innerProductFaults(seed, 5 + (seed % 36));
    if (faults.length > 0) failed++;
    lines.push(...faults.map((fault) => `  random graph ${seed}: ${fault}`));
  }
  lines.push(`random graphs ${from} to ${to - 1}, ${failed} failed`);
  return { lines, failed, findings: [] };
}

async function checkedNetwork({ kind, name }: Exclude<Task, { op: string } | { from: number }>) {
  const lines: string[] = [];
  let failed = 0;
  const tell = (what: string, found: ModelFinding): void => {
    if (found.faults.length > 0) failed++;
    const [a, b] = [found.worst64, found.worst32].map((n) => n.toExponential(1).padStart(10));
    lines.push(
      `${`${found.name}, ${what}`.padEnd(42)}${String(found.parameters).padStart(6)}${a}${b}`,
      ...found.faults.slice(0, FAULTS_SHOWN).map((fault) => `  ${fault}`),
    );
  };
  for (const one of MODELS.filter((model) => kind === "network" && model.name === name)) {
    tell("each parameter", await checkModel(one, { entries: ENTRIES }));
    tell("second derivatives", checkTwice(one));
    tell("forms of export", await checkForms(one, { entries: ENTRIES }));
  }
  for (const one of zooCases().filter((model) => kind === "zoo" && model.name === name)) {
    tell("all together", await checkTogether(one));
  }
  return { lines, failed, findings: [] };
}
