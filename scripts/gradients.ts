// `npm run test:gradients [-- OP …]`: the whole gradient suite, or the cases of some ops. Prints a line an
// op and exits 1 on a fault. `--cases N` sets how many cases an op has. Without names of ops, random graphs and
// whole networks too; `--networks` checks those alone. `npm run generate:gradients` (`--write`) writes
// docs/reference/gradients.md from the same run; the page's structure is a test (test/reference.test.ts).

import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
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
import {
  CASES,
  checkOp,
  checkSecondOf,
  covered,
  faultsOf,
  forwardOnly,
  uncovered,
} from "../test/gradients/suite.ts";
import { GRADIENTS_PAGE, gradientsPage } from "./gradients-page.ts";

const FAULTS_SHOWN = 5;
const RANDOM_GRAPHS = 500;

function line(op: string, findings: readonly Finding[]): string {
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

/** Whole random graphs; how many of them failed. */
function randomGraphs(write: (text: string) => void): number {
  let failed = 0;
  for (let seed = 0; seed < RANDOM_GRAPHS; seed++) {
    const faults = innerProductFaults(seed, 5 + (seed % 36));
    if (faults.length > 0) failed++;
    for (const fault of faults) write(`  random graph ${seed}: ${fault}`);
  }
  write(`${RANDOM_GRAPHS} random graphs, ${failed} failed`);
  return failed;
}

/** Gradients of the gradients of an op; how many cases failed. */
function secondDerivatives(op: string, cases: number, write: (text: string) => void): number {
  const found = checkSecondOf(op, 0, cases);
  const bad = found.filter(({ kind }) => kind === "wrong" || kind === "refused");
  for (const one of bad.slice(0, FAULTS_SHOWN)) write(`  second: ${JSON.stringify(one)}`);
  return bad.length;
}

/** Elements of each parameter of a small network that are moved by themselves. */
const ENTRIES = 12;

/** Whole networks; how many of them failed. */
async function wholeNetworks(write: (text: string) => void): Promise<number> {
  let failed = 0;
  const tell = (what: string, found: ModelFinding): void => {
    if (found.faults.length > 0) failed++;
    const [a, b] = [found.worst64, found.worst32].map((n) => n.toExponential(1).padStart(10));
    write(`${`${found.name}, ${what}`.padEnd(42)}${String(found.parameters).padStart(6)}${a}${b}`);
    for (const fault of found.faults.slice(0, FAULTS_SHOWN)) write(`  ${fault}`);
  };
  for (const one of MODELS) {
    tell("each parameter", await checkModel(one, { entries: ENTRIES }));
    tell("second derivatives", checkTwice(one));
    tell("forms of export", await checkForms(one, { entries: ENTRIES }));
  }
  for (const one of zooCases()) tell("all together", await checkTogether(one));
  return failed;
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: {
      cases: { type: "string", default: String(CASES) },
      networks: { type: "boolean", default: false },
      write: { type: "boolean", default: false },
    },
    allowPositionals: true,
  });
  const write = (text: string): void => void process.stdout.write(`${text}\n`);
  if (values.networks) return (await wholeNetworks(write)) === 0 ? 0 : 1;
  const start = process.hrtime.bigint();
  const head = ["forms", "cases"].map((name) => name.padStart(6)).join("");
  write(`${"op".padEnd(36)}${head}${"float64".padStart(10)}${"float32".padStart(10)}`);
  let [cases, failed] = [0, 0];
  const found = new Map<string, readonly Finding[]>();
  for (const op of positionals.length > 0 ? positionals : [...covered(), ...forwardOnly()]) {
    const findings = await checkOp(op, 0, Number(values.cases));
    found.set(op, findings);
    const faults = faultsOf(findings);
    write(line(op, findings));
    const reasons = findings.map((finding) => finding.needsStatic);
    for (const reason of new Set(reasons)) if (reason !== undefined) write(`  static: ${reason}`);
    for (const fault of faults.slice(0, FAULTS_SHOWN)) write(`  ${fault}`);
    if (covered().includes(op)) failed += secondDerivatives(op, Number(values.cases), write);
    cases += findings.length;
    failed += findings.filter((finding) => finding.faults.length > 0).length;
  }
  if (positionals.length === 0) failed += randomGraphs(write) + (await wholeNetworks(write));
  const missing = positionals.length > 0 ? [] : uncovered();
  for (const op of missing) write(`${op} has a gradient rule and no cases`);
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  write(`${cases} cases, ${failed} failed, in ${seconds.toFixed(0)} s`);
  if (failed > 0 || missing.length > 0) return 1;
  if (values.write) {
    writeFileSync(GRADIENTS_PAGE, gradientsPage(found));
    write(`${GRADIENTS_PAGE} is written`);
  }
  return 0;
}

process.exitCode = await main();
