// The page docs/reference/gradients.md: how each gradient rule was checked, and the worst error found.

import type { Finding } from "../test/gradients/check.ts";
import { CASES, covered, formsOf } from "../test/gradients/suite.ts";

/** Where the page is kept. */
export const GRADIENTS_PAGE = "docs/reference/gradients.md";

/** What was found, by op. */
export type Findings = ReadonlyMap<string, readonly Finding[]>;

/** The page. */
export function gradientsPage(found: Findings): string {
  const ops = covered().sort();
  const all = ops.flatMap((op) => found.get(op) ?? []);
  return `# Gradients

Made by \`npm run generate:gradients\` from the cases in \`test/gradients/cases/\`; not edited by hand.

Every op that has a gradient is checked over random cases: odd shapes, broadcasting, negative axes, strides, groups, pads,
attributes left out. The loss of a case is the sum of its float outputs with random weights.

- **Forms**: kinds of cases that differ in more than sizes.
- **float64**: the gradient graph, evaluated in double by a small evaluator of its own (\`test/float64/\`), against central
  differences of the forward graph (step 1e-6; accepted: 1e-5 + 1e-3 of the difference). The worst error, relative to the
  greatest element of the gradient, or to 1 if that is less.
- **float32**: the same graph on the runtime against the evaluator (accepted: 1e-4). The worst error, relative to the
  greatest element, or to 0.01 if that is less.
- **Sizes**: whether the gradient is built where the graph knows the rank of its inputs alone: \`open\`, \`static\`, or
  \`some\`, in some forms.

${ops.length} ops, ${all.length} cases: worst error ${worst(all, "worst64")} in float64, ${worst(all, "worst32")} in float32.

| op | forms | cases | float64 | float32 | sizes |
| --- | --- | --- | --- | --- | --- |
${ops.map((op) => row(op, found.get(op) ?? [])).join("\n")}
`;
}

function row(op: string, findings: readonly Finding[]): string {
  const fixed = findings.filter((finding) => finding.needsStatic !== undefined).length;
  const sizes = fixed === 0 ? "open" : fixed === findings.length ? "static" : "some";
  const errors = [worst(findings, "worst64"), worst(findings, "worst32")];
  return `| ${[op, formsOf(op).size, findings.length, ...errors, sizes].join(" | ")} |`;
}

function worst(findings: readonly Finding[], of: "worst64" | "worst32"): string {
  const error = Math.max(0, ...findings.map((finding) => finding[of]));
  return error === 0 ? "0" : error.toExponential(0);
}

/** What of the page does not depend on the machine: ops, forms and cases. */
export function structureOf(page: string): string[] {
  return [...page.matchAll(/^\| (\S+ \| \d+ \| \d+) \|/gm)].map((match) => match[1] ?? "");
}

/** The structure that the page should have now. */
export function expectedStructure(): string[] {
  return covered()
    .sort()
    .map((op) => `${op} | ${formsOf(op).size} | ${CASES}`);
}
