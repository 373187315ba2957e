// The page docs/reference/ops.md: what skipway knows of each op, from the op table and the standard's
// schemas.

import { propagates } from "../src/canonical/propagate.ts";
import { isDType } from "../src/graph/dtype.ts";
import type { ValueType } from "../src/graph/graph.ts";
import { OPS } from "../src/ops/index.ts";
import type { OpDef } from "../src/ops/op.ts";
import { free } from "../src/ops/rules.ts";
import { SCHEMA_VERSION } from "../src/ops/schema.gen.ts";
import { type OpSchema, schemasOf, standardOps } from "../src/ops/schema.ts";

/** Rules are written for this operator set and later ones. */
const OPSET_MIN = 7;

/** Where the page is kept. */
export const OPS_PAGE = "docs/reference/ops.md";

/** The page. */
export function opsPage(): string {
  const ops = [...OPS.values()].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  return `# Ops

Made by \`npm run generate:ops\` from the op table (\`src/ops/index.ts\`) and the schemas of onnx ${SCHEMA_VERSION}; not
edited by hand.

- **Versions**: the versions of its operator set in which the standard defined or changed the op. In bold those that the
  rules are written for: the ones in force in operator set ${OPSET_MIN} or later.
- **Shapes**: every op here has a rule for element types and shapes; \`tensors, not sequences\` where the standard also
  has the op for sequences, optionals or maps, of which the rule says nothing.
- **Contents**: whether the contents of small integer tensors are followed through the op, as exporters compute shapes.
- **Gradient**: \`rule\`, \`decomposed\` (taken apart into ops that have rules), \`zero\` (piecewise constant or integer
  valued), \`bodies\` (through the graphs inside) or \`none\`.
- **Cost**: \`counted\` (arithmetic and bytes), \`free\` (a view) or \`unknown\`.
- **Saved**: what the backward of the op reads: inputs (x) and outputs (y) that training keeps in memory.

${totals(ops)}

| op | domain | versions | shapes | contents | gradient | cost | saved |
| --- | --- | --- | --- | --- | --- | --- | --- |
${ops.map(row).join("\n")}

## Ops of the standard without a rule

Their outputs are of unknown type, unless the file declares one, and nothing flows back through them.

${withoutRule()}
`;
}

function keyOf(op: OpDef): string {
  return `${op.domain}/${op.type}`;
}

function domainName(domain: string): string {
  return domain === "" ? "ai.onnx" : domain;
}

function row(op: OpDef): string {
  const versions = schemasOf(op.domain, op.type);
  return `| ${[
    op.type,
    domainName(op.domain),
    versionsOf(op, versions),
    shapesOf(versions),
    propagates(op) ? "followed" : "",
    kindOfGradient(op),
    costOf(op),
    savedOf(op),
  ].join(" | ")} |`;
}

function kindOfGradient({ gradient }: OpDef): string {
  if (gradient === "zero") return "zero";
  if (gradient === "bodies") return "bodies";
  if (typeof gradient === "function") return "rule";
  return "decompose" in gradient ? "decomposed" : "none";
}

function versionsOf(op: OpDef, versions: readonly OpSchema[]): string {
  if (versions.length === 0) return "not in the standard";
  const first = versions.findLast((one) => one.since <= OPSET_MIN)?.since ?? 0;
  return versions
    .map(({ since, deprecated }) => {
      const number = deprecated ? `${since} (deprecated)` : `${since}`;
      const covered = !deprecated && (op.domain !== "" || since >= first);
      return covered ? `**${number}**` : number;
    })
    .join(", ");
}

function shapesOf(versions: readonly OpSchema[]): string {
  const last = versions.findLast((one) => !one.deprecated);
  const types = [...(last?.inputs ?? []), ...(last?.outputs ?? [])].map((one) => one.allowed);
  return types.every((allowed) => [...allowed].every(isDType))
    ? "tensors"
    : "tensors, not sequences";
}

/** A rule that has no answer to static shapes of any rank has none at all. */
function costOf(op: OpDef): string {
  if (op.cost === free) return "free";
  const node = {
    ...op,
    name: "",
    op: op.type,
    inputs: ["x"],
    outputs: ["y"],
    attributes: new Map(),
  };
  const known = [2, 3, 4, 5].some((rank) => {
    const type: ValueType = { dtype: "float32", shape: Array.from({ length: rank }, () => 4) };
    const types = Array.from({ length: 8 }, () => type);
    return op.cost(node, types, types) !== undefined;
  });
  return known ? "counted" : "unknown";
}

function savedOf({ saves }: OpDef): string {
  return [...saves.inputs.map((i) => `x${i}`), ...saves.outputs.map((i) => `y${i}`)].join(" ");
}

function totals(ops: readonly OpDef[]): string {
  const count = (is: (op: OpDef) => boolean): number => ops.filter(is).length;
  const standard = count((op) => schemasOf(op.domain, op.type).length > 0);
  const gradients = [
    `${count((op) => kindOfGradient(op) === "rule")} have a gradient rule`,
    `${count((op) => kindOfGradient(op) === "decomposed")} are taken apart into ops that have one`,
    `${count((op) => op.gradient === "zero")} have gradient zero`,
    `${count((op) => op.gradient === "bodies")} have that of the graphs inside them`,
    `${count((op) => kindOfGradient(op) === "none")} have none`,
  ];
  const others = ops.length - standard;
  return `${ops.length} ops: ${standard} of the ${standardOps().length} that the standard has or had, ${others} of other
domains. ${gradients.join(", ")}; contents are followed through ${count(propagates)}.`;
}

function withoutRule(): string {
  const missing = new Map<string, string[]>();
  for (const key of standardOps()) {
    if (OPS.has(key)) continue;
    const at = key.lastIndexOf("/");
    const [domain, type] = [key.slice(0, at), key.slice(at + 1)];
    const gone = schemasOf(domain, type).at(-1)?.deprecated === true;
    const name = gone ? `${type} (deprecated)` : type;
    missing.set(domain, [...(missing.get(domain) ?? []), name]);
  }
  return [...missing]
    .map(([domain, names]) => `- ${domainName(domain)} (${names.length}): ${names.join(", ")}`)
    .join("\n");
}
