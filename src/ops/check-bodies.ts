// The bodies of If, Loop and Scan against their node: what it hands in, what it takes out, and that a value
// carried from one iteration to the next keeps its type (ONNX If, Loop, Scan).

import type { Diagnostic } from "../base/diagnostic.ts";
import type { Graph, Node } from "../graph/graph.ts";
import { clipName } from "../graph/verify.ts";
import { finding } from "./check-node.ts";
import { scanParts } from "./control.ts";
import type { TypeName } from "./schema.ts";

/** Types by position; undefined where one is not known. */
export type TypeList = readonly (TypeName | undefined)[];

/** A body, and the types that its values have: declared or, where nothing is declared, found. */
export interface Body {
  readonly graph: Graph;
  readonly inputs: TypeList;
  readonly outputs: TypeList;
}

/** How a control flow op and its bodies exchange values. */
interface Exchange {
  /** Types that go into the body, of inputs of these types. */
  readonly handedIn: TypeList;
  /** Outputs of the body before those that are the node's. */
  readonly skipped: number;
  /** How many values go from one iteration to the next, the first of them at this input of the body. */
  readonly carried: number;
  readonly carriedFrom: number;
}

/** undefined for an op that has no bodies, or treats them in a way of its own. */
function exchangeOf(node: Node, opset: number, given: TypeList): Exchange | undefined {
  switch (node.domain === "" ? node.op : "") {
    case "If":
      return { handedIn: [], skipped: 0, carried: 0, carriedFrom: 0 };
    case "Loop": {
      const handedIn = ["int64", "bool", ...given.slice(2)];
      return { handedIn, skipped: 1, carried: handedIn.length - 2, carriedFrom: 2 };
    }
    case "Scan": {
      // Before version 9 the lengths of the sequences come first.
      const handedIn = opset < 9 ? given.slice(1) : given;
      const carried = scanParts(node, opset)?.states ?? 0;
      return { handedIn, skipped: 0, carried, carriedFrom: 0 };
    }
    default:
      return undefined;
  }
}

/** What a node hands to its bodies. */
export function handedIn(node: Node, opset: number, given: TypeList): TypeList {
  return exchangeOf(node, opset, given)?.handedIn ?? [];
}

/** What bodies give for the outputs of their node; undefined for an op that has none. */
export function fromBodies(
  node: Node,
  opset: number,
  bodies: readonly Body[],
): TypeList | undefined {
  const exchange = exchangeOf(node, opset, []);
  if (exchange === undefined) return undefined;
  const [one, other] = bodies;
  const first = (i: number): TypeName | undefined => one?.outputs[i] ?? other?.outputs[i];
  return node.outputs.map((_, i) => first(i + exchange.skipped));
}

/** What is wrong with the bodies of a node whose inputs have the given types. */
export function bodyDiagnostics(
  node: Node,
  opset: number,
  { given, bodies }: { readonly given: TypeList; readonly bodies: readonly Body[] },
): Diagnostic[] {
  const exchange = exchangeOf(node, opset, given);
  if (exchange === undefined) return [];
  // More than an If has are attributes that no schema knows; so many times all inputs would be too much.
  const known = bodies.slice(0, 2);
  const found = known.flatMap((body) => argumentDiagnostics(node, exchange, body));
  if (found.length > 0) return found;
  return [
    ...known.flatMap((body) => typeDiagnostics(node, exchange, body)),
    ...branchDiagnostics(node, bodies),
  ];
}

function argumentDiagnostics(node: Node, exchange: Exchange, { graph }: Body): Diagnostic[] {
  const expected = exchange.handedIn.length;
  const outputs = node.outputs.length + exchange.skipped;
  const [takes, gives] = [graph.inputs.length, graph.outputs.length];
  const wrong: string[] = [];
  if (takes !== expected) wrong.push(`${takes} inputs instead of ${expected}`);
  if (gives < outputs) wrong.push(`${gives} outputs instead of ${outputs}`);
  if (wrong.length === 0) return [];
  return [
    finding(node, "body-arguments", "error", {
      text: `its body ${clipName(graph.name)} has ${wrong.join(" and ")}`,
      fix: "Give the body the inputs and outputs that the node hands to it and takes from it.",
    }),
  ];
}

function typeDiagnostics(node: Node, exchange: Exchange, body: Body): Diagnostic[] {
  const found: Diagnostic[] = [];
  const differ = (a: TypeName | undefined, b: TypeName | undefined): boolean =>
    a !== undefined && b !== undefined && a !== b;
  const report = (text: string): void => {
    const fix =
      "Put a Cast before the node or into its body, or declare the type that the value has.";
    found.push(finding(node, "body-type", "error", { text, fix }));
  };
  for (const [i, type] of exchange.handedIn.entries()) {
    const declared = body.inputs[i];
    if (differ(type, declared)) {
      report(`hands ${type} to input ${i} of its body, which is declared as ${declared}`);
    }
  }
  for (let i = 0; i < exchange.carried; i++) {
    const [before, after] = [
      exchange.handedIn[i + exchange.carriedFrom],
      body.outputs[i + exchange.skipped],
    ];
    if (differ(before, after)) {
      report(`carried value ${i} is ${before} before the first iteration and ${after} after it`);
    }
  }
  return found;
}

/** Both branches of an If give the same types. */
function branchDiagnostics(node: Node, [one, other]: readonly Body[]): Diagnostic[] {
  if (node.op !== "If" || one === undefined || other === undefined) return [];
  return node.outputs.flatMap((_, i) => {
    const [a, b] = [one.outputs[i], other.outputs[i]];
    if (a === undefined || b === undefined || a === b) return [];
    const text = `output ${i} is ${a} from one branch and ${b} from the other`;
    const fix = "Put a Cast at the end of one of the branches.";
    return [finding(node, "body-type", "error", { text, fix })];
  });
}
