// A node against the schema of its op: how many inputs and outputs, which attributes of which kind.

import { type Diagnostic, diagnostic, type Severity } from "../base/diagnostic.ts";
import type { Attribute, GraphFunction, Node } from "../graph/graph.ts";
import { clipName } from "../graph/verify.ts";
import { type AttributeKind, type OpSchema, type SchemaArgument, schemasOf } from "./schema.ts";

/** A finding about a node. */
export function finding(
  node: Node,
  id: string,
  severity: Severity,
  said: { readonly text: string; readonly fix: string },
): Diagnostic {
  const where = `node ${clipName(node.name)} (${clipName(node.op)})`;
  return diagnostic({ id: `ops/${id}`, severity, where, ...said });
}

/** What the schema of its op objects to in a node, its types apart. */
export function nodeDiagnostics(node: Node, schema: OpSchema): Diagnostic[] {
  return [
    ...deprecated(node, schema),
    ...argumentDiagnostics(node, "input", schema),
    ...argumentDiagnostics(node, "output", schema),
    ...attributeDiagnostics(node, schema),
  ];
}

/** ONNX Runtime has these in the standard domain from version 1 on, and its own optimizer writes them. */
const EARLY_IN_RUNTIME = new Set([
  ...["LayerNormalization", "MeanVarianceNormalization", "ThresholdedRelu"],
]);

/** The finding that an op is not in the operator set that the model declares. */
export function newerThanOpset(node: Node, opset: number, first: OpSchema): Diagnostic {
  const early = first.domain === "" && EARLY_IN_RUNTIME.has(first.type);
  return finding(node, "newer-than-opset", early ? "warning" : "error", {
    text: `is in operator set ${first.since} and later; the model declares ${opset}`,
    fix: `Export the model for operator set ${first.since} or later.`,
  });
}

/** Arguments of the call of a function of the model: what it leaves out at the end is left out inside. */
export function callDiagnostics(node: Node, called: GraphFunction): Diagnostic[] {
  const found: Diagnostic[] = [];
  for (const side of ["input", "output"] as const) {
    const [given, most] = [node[`${side}s`].length, called[`${side}s`].length];
    if (given > most) {
      found.push(
        finding(node, `${side}-count`, "error", {
          text: `has ${given} ${side}s, the function that it calls has ${most}`,
          fix: "Export the model again: calls and functions must agree.",
        }),
      );
    }
  }
  return found;
}

/** The runtime runs an op that came back in a later version, GroupNormalization-18, and no other. */
function deprecated(node: Node, schema: OpSchema): Diagnostic[] {
  if (!schema.deprecated) return [];
  const versions = schemasOf(schema.domain, schema.type);
  const later = versions.find((one) => one.since > schema.since && !one.deprecated);
  const fix =
    later === undefined
      ? "Export the model again with an exporter that writes what took its place."
      : `Export the model for operator set ${later.since} or later.`;
  return [
    finding(node, "deprecated", later === undefined ? "error" : "warning", {
      text: `is deprecated since operator set ${schema.since}`,
      fix,
    }),
  ];
}

/** The argument that position `i` belongs to. */
export function argumentAt(args: readonly SchemaArgument[], i: number): SchemaArgument | undefined {
  const last = args.at(-1);
  return args[i] ?? (last?.option === "variadic" ? last : undefined);
}

/** The fewest arguments that a node may have: up to the last that may not be left out. */
export function fewest(args: readonly SchemaArgument[]): number {
  return args.reduce((count, one, i) => {
    if (one.option === "optional") return count;
    return one.option === "single" ? i + 1 : Math.max(count, i + one.minimum);
  }, 0);
}

function argumentDiagnostics(node: Node, side: "input" | "output", schema: OpSchema): Diagnostic[] {
  const [given, args] = [node[`${side}s`], schema[`${side}s`]];
  const [least, most] = [fewest(args), args.at(-1)?.option === "variadic" ? Infinity : args.length];
  const found: Diagnostic[] = [];
  if (given.length < least || given.length > most) {
    const bounds = least === most ? `${least}` : `${least} to ${most}`;
    const range = most === Infinity ? `at least ${least}` : bounds;
    const names = args.map((one) => one.name).join(", ");
    found.push(
      finding(node, `${side}-count`, "error", {
        text: `has ${given.length} ${side}s; ${version(schema)} has ${range}: ${names}`,
        fix: `Give the node the ${side}s of its version, or declare the operator set that it is written for.`,
      }),
    );
  }
  for (const [i, argument] of args.entries()) {
    if (argument.option !== "single" || given[i] !== "") continue;
    found.push(
      finding(node, `missing-${side}`, "error", {
        text: `leaves out ${side} ${i}, "${argument.name}", which ${version(schema)} requires`,
        fix: `Give the node a value for "${argument.name}".`,
      }),
    );
  }
  return found;
}

function version(schema: OpSchema): string {
  return `version ${schema.since} of ${schema.type}`;
}

function attributeDiagnostics(node: Node, schema: OpSchema): Diagnostic[] {
  const found: Diagnostic[] = [];
  for (const [name, attribute] of node.attributes) {
    // Names of this form are notes of a tool to itself; onnx's own checker lets them be.
    if (name.startsWith("__")) continue;
    const known = schema.attributes.get(name);
    if (known === undefined) {
      found.push(unknownAttribute(node, name, schema));
    } else if (!isOfKind(attribute, known.kind)) {
      const kind = attribute.kind === "opaque" ? "another kind" : `the kind ${attribute.kind}`;
      found.push(
        finding(node, "attribute-kind", "error", {
          text: `its attribute "${name}" is of ${kind}, not ${known.kind}`,
          fix: `Write "${name}" as ${known.kind}.`,
        }),
      );
    }
  }
  for (const { name, required } of schema.attributes.values()) {
    if (!required || node.attributes.has(name)) continue;
    found.push(
      finding(node, "missing-attribute", "error", {
        text: `has no attribute "${name}", which ${version(schema)} requires`,
        fix: `Give the node a value for "${name}".`,
      }),
    );
  }
  return found;
}

function unknownAttribute(node: Node, name: string, schema: OpSchema): Diagnostic {
  const others = schemasOf(schema.domain, schema.type).filter((one) => one.attributes.has(name));
  const elsewhere = others.map((one) => one.since).join(", ");
  const names = [...schema.attributes.keys()].join(", ");
  return finding(node, "unknown-attribute", "error", {
    text: `has an attribute "${clipName(name)}", which ${version(schema)} does not know`,
    fix:
      others.length > 0
        ? `Version ${elsewhere} has it: declare the operator set that the node is written for.`
        : `Leave it out; the attributes are: ${names === "" ? "none" : names}.`,
  });
}

/** A tensor that could not be read, sparse tensors and types are kept as they are in the file. */
function isOfKind(attribute: Attribute, kind: AttributeKind): boolean {
  if (attribute.kind === "reference" || attribute.kind === kind) return true;
  const kept = kind === "tensor" || kind === "sparse_tensor" || kind === "type_proto";
  return attribute.kind === "opaque" && kept;
}
