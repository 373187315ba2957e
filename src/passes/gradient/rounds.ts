// Loop and Scan as one: a body that is run in rounds. States go from round to round, slices of inputs go in,
// results of every round are stacked (ONNX Loop-11 and Scan-9).

import {
  type Graph,
  intsAttribute,
  type Node,
  subgraphs,
  type Value,
  type ValueName,
} from "../../graph/graph.ts";
import { scanParts } from "../../ops/control.ts";

/** A value that one round hands on to the next. */
export interface RoundState {
  /** What it is before the first round. */
  readonly outer: ValueName;
  /** The input of the body. */
  readonly inside: Value;
  /** The output of the body. */
  readonly result: Value;
}

/** An input of a Scan, of which each round gets a slice. */
export interface RoundSlice {
  readonly outer: ValueName;
  readonly inside: Value;
  readonly axis: number;
  readonly reversed: boolean;
}

/** What all rounds give, stacked. */
export interface RoundStack {
  readonly result: Value;
  readonly axis: number;
  readonly reversed: boolean;
}

/** The parts of a Loop or Scan. Outputs of the node are the last states, then the stacks. */
export interface Rounds {
  readonly node: Node;
  readonly body: Graph;
  readonly states: readonly RoundState[];
  readonly slices: readonly RoundSlice[];
  readonly stacks: readonly RoundStack[];
  /** Inputs of a Loop's body: which round it is, and whether it goes on. */
  readonly count: Value | undefined;
  readonly condition: Value | undefined;
}

/** The parts of a node that runs in rounds, or undefined for others and for broken ones. */
export function roundsOf(node: Node): Rounds | undefined {
  const [body] = subgraphs(node);
  if (body === undefined || node.domain !== "") return undefined;
  if (node.op === "Loop") return loopRounds(node, body);
  return node.op === "Scan" ? scanRounds(node, body) : undefined;
}

function loopRounds(node: Node, body: Graph): Rounds {
  const [count, condition, ...inside] = body.inputs;
  const results = body.outputs.slice(1);
  return {
    node,
    body,
    states: statesOf(node.inputs.slice(2), inside, results),
    slices: [],
    stacks: results.slice(inside.length).map((result) => ({ result, axis: 0, reversed: false })),
    count,
    condition,
  };
}

/** Operator sets before 9, whose Scan had a batch axis, are below what gradients are built for. */
function scanRounds(node: Node, body: Graph): Rounds | undefined {
  const parts = scanParts(node, 9);
  if (parts === undefined) return undefined;
  const listed = (name: string, i: number): number => intsAttribute(node, name)?.[i] ?? 0;
  const outer = node.inputs.slice(0, parts.states);
  return {
    node,
    body,
    states: statesOf(outer, body.inputs, body.outputs),
    slices: node.inputs.slice(parts.states).flatMap((name, i): RoundSlice[] => {
      const inside = body.inputs[parts.states + i];
      const reversed = listed("scan_input_directions", i) === 1;
      const axis = listed("scan_input_axes", i);
      return inside === undefined ? [] : [{ outer: name, inside, axis, reversed }];
    }),
    stacks: body.outputs.slice(parts.states).map((result, i) => ({
      result,
      axis: listed("scan_output_axes", i),
      reversed: listed("scan_output_directions", i) === 1,
    })),
    count: undefined,
    condition: undefined,
  };
}

function statesOf(
  outer: readonly ValueName[],
  inside: readonly Value[],
  results: readonly Value[],
): RoundState[] {
  return outer.flatMap((name, i): RoundState[] => {
    const [input, result] = [inside[i], results[i]];
    return input === undefined || result === undefined
      ? []
      : [{ outer: name, inside: input, result }];
  });
}
