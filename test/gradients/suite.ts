// Runs generators of cases, and says which ops with a rule have none.

import { hashName, Random } from "../../src/base/random.ts";
import { OPS } from "../../src/ops/index.ts";
import type { Gradient } from "../../src/ops/op.ts";
import { GENERATORS } from "./cases/index.ts";
import { checkCase, type Finding } from "./check.ts";

/** Cases an op in the whole suite. */
export const CASES = 60;

function isDecomposed(gradient: Gradient): boolean {
  return typeof gradient === "object" && "decompose" in gradient;
}

/** By what the generators know an op of the table. */
function keysOfRuledOps(): string[] {
  return [...OPS.values()]
    .filter(({ gradient }) => typeof gradient === "function" || isDecomposed(gradient))
    .map((op) => (op.domain === "" ? op.type : `${op.domain}/${op.type}`));
}

/** Ops that have a gradient rule and cases. */
export function covered(): string[] {
  return keysOfRuledOps().filter((key) => GENERATORS[key] !== undefined);
}

/** Ops that have a gradient rule and no cases. */
export function uncovered(): string[] {
  return keysOfRuledOps().filter((key) => GENERATORS[key] === undefined);
}

/** Checks variants `from` to `to` of an op. */
export async function checkOp(key: string, from: number, to: number): Promise<Finding[]> {
  const generate = GENERATORS[key];
  if (generate === undefined) throw new Error(`${key} has no cases`);
  const findings: Finding[] = [];
  for (let variant = from; variant < to; variant++) {
    const seed = hashName(`${key} ${variant}`);
    findings.push(await checkCase(generate(new Random(seed), variant), seed));
  }
  return findings;
}

/** What failed, one line each. */
export function faultsOf(findings: readonly Finding[]): string[] {
  return findings.flatMap(({ op, form, faults }, i) =>
    faults.map((fault) => `${op} (${form}, case ${i}): ${fault}`),
  );
}
