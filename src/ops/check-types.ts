// The types around a node against the schema of its op: each is one that the version allows, and a type
// variable stands for the same type wherever it occurs. Gives the types of the outputs.

import type { Diagnostic } from "../base/diagnostic.ts";
import { isDType } from "../graph/dtype.ts";
import type { Node, ValueName } from "../graph/graph.ts";
import { clipName } from "../graph/verify.ts";
import { argumentAt, finding } from "./check-node.ts";
import { opOf } from "./index.ts";
import type { OpSchema, SchemaArgument, TypeName } from "./schema.ts";

/** What is known around a node; undefined is "not known", of which nothing is said. */
export interface KnownTypes {
  readonly opset: number;
  /** Types of the inputs. */
  readonly inputs: readonly (TypeName | undefined)[];
  /** What the file declares of an output. */
  declared(name: ValueName): TypeName | undefined;
  /** What the bodies of the node give for each output; left out for a node that has none. */
  readonly fromBodies?: readonly (TypeName | undefined)[] | undefined;
}

/** What was found, and the types of the outputs. */
export interface TypeCheck {
  readonly found: readonly Diagnostic[];
  readonly outputs: readonly (TypeName | undefined)[];
}

/** Where a type variable was bound. */
interface Binding {
  readonly type: TypeName;
  readonly argument: string;
}

/** Checks the types of one node. */
export function checkTypes(node: Node, schema: OpSchema, known: KnownTypes): TypeCheck {
  const found: Diagnostic[] = [];
  const bound = new Map<string, Binding>();
  for (const [i, name] of node.inputs.entries()) {
    const argument = argumentAt(schema.inputs, i);
    const type = name === "" ? undefined : known.inputs[i];
    if (argument === undefined || type === undefined) continue;
    if (!argument.allowed.has(type)) found.push(notAllowed(node, i, { type, argument, schema }));
    else found.push(...bind(node, bound, { type, argument, i }));
  }
  // What follows from wrong inputs is no finding of its own.
  const judge = found.length === 0;
  const inferred = new Inferred(node, known);
  const outputs = node.outputs.map((name, i) => {
    const argument = argumentAt(schema.outputs, i);
    if (argument === undefined || name === "") return undefined;
    const expected = fromSchema(argument, bound) ?? inferred.type(i, argument);
    const given = known.declared(name) ?? expected;
    if (given === undefined) return undefined;
    const fits = argument.allowed.has(given) && (expected === undefined || expected === given);
    if (!fits && judge) found.push(otherOutput(node, i, { given, expected, argument }));
    return given;
  });
  return { found, outputs };
}

function bind(
  node: Node,
  bound: Map<string, Binding>,
  use: { readonly type: TypeName; readonly argument: SchemaArgument; readonly i: number },
): Diagnostic[] {
  const { type, argument, i } = use;
  if (argument.variable === undefined || !argument.homogeneous) return [];
  const label = argument.option === "variadic" ? `${argument.name} (input ${i})` : argument.name;
  const before = bound.get(argument.variable);
  if (before === undefined) bound.set(argument.variable, { type, argument: label });
  if (before === undefined || before.type === type) return [];
  return [
    finding(node, "type-conflict", "error", {
      text: `"${before.argument}" is ${before.type} and "${label}" is ${type}; they must be of one type`,
      fix: `Put a Cast to ${before.type} before "${label}", or one to ${type} before "${before.argument}".`,
    }),
  ];
}

function fromSchema(
  argument: SchemaArgument,
  bound: ReadonlyMap<string, Binding>,
): TypeName | undefined {
  if (argument.variable !== undefined && argument.homogeneous) {
    const type = bound.get(argument.variable)?.type;
    if (type !== undefined) return type;
  }
  const [only] = argument.allowed;
  return argument.allowed.size === 1 ? only : undefined;
}

/** What the op's own rule says, where the schema leaves it open: the target of a Cast, for one. */
class Inferred {
  readonly #node: Node;
  readonly #known: KnownTypes;
  #types: readonly (TypeName | undefined)[] | undefined;

  constructor(node: Node, known: KnownTypes) {
    this.#node = node;
    this.#known = known;
  }

  type(i: number, argument: SchemaArgument): TypeName | undefined {
    const bodies = this.#known.fromBodies;
    if (bodies !== undefined) return bodies[i];
    // A rule gives the type of the elements, which is that of the value in tensors only.
    if (![...argument.allowed].every(isDType)) return undefined;
    this.#types ??= this.#ask();
    return this.#types[i];
  }

  #ask(): readonly (TypeName | undefined)[] {
    const types = opOf(this.#node)?.shape({
      node: this.#node,
      opset: this.#known.opset,
      input: (i) => {
        const type = this.#known.inputs[i] ?? "";
        return isDType(type) ? { dtype: type, shape: undefined } : undefined;
      },
      constant: () => undefined,
      entries: () => undefined,
    });
    return (types ?? []).map((type) => type?.dtype);
  }
}

function notAllowed(
  node: Node,
  i: number,
  { type, argument, schema }: { type: TypeName; argument: SchemaArgument; schema: OpSchema },
): Diagnostic {
  const name = clipName(node.inputs[i] ?? "");
  return finding(node, "input-type", "error", {
    text: `"${argument.name}" (${name}) is ${type}; version ${schema.since} of ${schema.type} takes ${listed(argument)}`,
    fix: "Put a Cast before it, or declare an operator set whose version of the op takes this type.",
  });
}

function otherOutput(
  node: Node,
  i: number,
  said: { given: TypeName; expected: TypeName | undefined; argument: SchemaArgument },
): Diagnostic {
  const name = clipName(node.outputs[i] ?? "");
  const { given, expected, argument } = said;
  const gives = expected === undefined || expected === given ? listed(argument) : expected;
  return finding(node, "output-type", "error", {
    text: `"${argument.name}" (${name}) would be ${given}, the op gives ${gives}`,
    fix: `Declare "${name}" with the type that the op gives, or put a Cast behind it.`,
  });
}

/** More types than a reader wants to see. */
const LISTED_MAX = 8;

function listed({ allowed }: SchemaArgument): string {
  const names = [...allowed];
  if (names.length <= LISTED_MAX) return names.join(", ");
  return `${names.slice(0, LISTED_MAX).join(", ")} and ${names.length - LISTED_MAX} more`;
}
