// Runs generators of cases, and says which ops with a rule have none.

import { hashName, Random } from "../../src/base/random.ts";
import { BLOCKED_DOMAIN } from "../../src/ops/blocked.ts";
import { OPS } from "../../src/ops/index.ts";
import type { Gradient } from "../../src/ops/op.ts";
import { schemaOf } from "../../src/ops/schema.ts";
import { GENERATORS } from "./cases/index.ts";
import { checkCase, checkForward, type Finding, OPSETS } from "./check.ts";
import { checkSecond, type SecondFinding } from "./second.ts";

/** Cases an op in the whole suite. */
export const CASES = 60;

/** Ops with a rule or a decomposition that have not been withdrawn, by what the generators know them. */
function keysOfRuledOps(): string[] {
  return (
    [...OPS.values()]
      // Those of the blocked layout run lowered alone: train/lowering.test.ts compares them with the plain ones.
      .filter(({ domain }) => domain !== BLOCKED_DOMAIN)
      .filter(({ gradient }) => typeof gradient === "function" || isDecomposition(gradient))
      .filter((op) => schemaOf(op.domain, op.type, OPSETS.last)?.deprecated !== true)
      .map((op) => (op.domain === "" ? op.type : `${op.domain}/${op.type}`))
  );
}

function isDecomposition(gradient: Gradient): boolean {
  return typeof gradient === "object" && "decompose" in gradient;
}

/** Ops that have a gradient rule and cases. */
export function covered(): string[] {
  return keysOfRuledOps().filter((key) => GENERATORS[key] !== undefined);
}

/** What flows through rounding is no slope that differences could show (src/ops/quant.test.ts has its numbers). */
const NO_SLOPE = ["QuantizeLinear"];

/** Ops that have a gradient rule and no cases. */
export function uncovered(): string[] {
  return keysOfRuledOps().filter((key) => GENERATORS[key] === undefined && !NO_SLOPE.includes(key));
}

/** Ops with cases that have no gradient rule: only their forward is checked. */
export function forwardOnly(): string[] {
  const ruled = new Set(keysOfRuledOps());
  return Object.keys(GENERATORS).filter((key) => !ruled.has(key));
}

/** Checks variants `from` to `to` of an op. */
export async function checkOp(key: string, from: number, to: number): Promise<Finding[]> {
  const check = keysOfRuledOps().includes(key) ? checkCase : checkForward;
  const generate = GENERATORS[key];
  if (generate === undefined) throw new Error(`${key} has no cases`);
  const findings: Finding[] = [];
  for (let variant = from; variant < to; variant++) {
    const seed = seedOf(key, variant);
    findings.push(await check(generate(new Random(seed), variant), seed));
  }
  return findings;
}

/** The forms among the cases of an op. */
export function formsOf(key: string): ReadonlySet<string> {
  const forms = Array.from({ length: CASES }, (_, variant) => {
    return GENERATORS[key]?.(new Random(seedOf(key, variant)), variant).form ?? "";
  });
  return new Set(forms);
}

function seedOf(key: string, variant: number): number {
  return hashName(`${key} ${variant}`);
}

/** What failed, one line each: a case, or all of them where no gradient is anything but 0. */
export function faultsOf(findings: readonly Finding[]): string[] {
  const [first] = findings;
  const nothing = first !== undefined && findings.every(({ greatest }) => greatest === 0);
  const vain = nothing ? [`${first.op}: every gradient is 0, the cases say nothing`] : [];
  const faults = findings.flatMap(({ op, form, faults }, i) =>
    faults.map((fault) => `${op} (${form}, case ${i}): ${fault}`),
  );
  return [...vain, ...faults];
}

/** Second derivatives of variants `from` to `to` of an op: how they fare, and what is wrong. */
export function checkSecondOf(key: string, from: number, to: number): SecondFinding[] {
  const generate = GENERATORS[key];
  if (generate === undefined) throw new Error(`${key} has no cases`);
  return Array.from({ length: to - from }, (_, i) => {
    const seed = hashName(`${key} ${from + i}`);
    return checkSecond(generate(new Random(seed), from + i), seed);
  });
}
