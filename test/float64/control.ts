// Control flow: bodies run as graphs that see the values around them.

import { type Graph, intAttribute, intsAttribute } from "../../src/graph/graph.ts";
import { type Array64, array, axisOf, reshaped } from "./array.ts";
import { type Call, type Kernels, operand } from "./kernel.ts";
import { concatenated, sliced } from "./movement.ts";

function bodyOf(call: Call, name: string): Graph {
  const attribute = call.node.attributes.get(name);
  if (attribute?.kind !== "graph") throw new Error(`${call.node.op} has no ${name}`);
  return attribute.value;
}

function branch(call: Call): readonly Array64[] {
  const taken = (operand(call, 0).values[0] ?? 0) !== 0 ? "then_branch" : "else_branch";
  return call.run(bodyOf(call, taken), []);
}

/** Results of each round, one upon another along a new first axis. */
function stacked(parts: readonly Array64[]): Array64 {
  return concatenated(
    parts.map((part) => ({ ...part, shape: [1, ...part.shape] })),
    0,
  );
}

function loop(call: Call): readonly (Array64 | undefined)[] {
  const body = bodyOf(call, "body");
  const rounds = call.inputs[0]?.values[0] ?? Number.POSITIVE_INFINITY;
  let condition = (call.inputs[1]?.values[0] ?? 1) !== 0;
  let carried = call.inputs.slice(2).map((_, i) => operand(call, i + 2));
  const scans: Array64[][] = [];
  for (let round = 0; round < rounds && condition; round++) {
    const held = array("bool", [], [Number(condition)]);
    const [next, ...results] = call.run(body, [array("int64", [], [round]), held, ...carried]);
    condition = (next?.values[0] ?? 0) !== 0;
    scans.push(results.slice(carried.length));
    carried = results.slice(0, carried.length);
  }
  const count = body.outputs.length - 1 - carried.length;
  // Without a round the shape of a scan output is nowhere said.
  const joined = Array.from({ length: count }, (_, i) =>
    scans.length === 0 ? undefined : stacked(scans.flatMap((round) => round[i] ?? [])),
  );
  return [...carried, ...joined];
}

/** The step `t` of an array along an axis, without that axis. */
function stepOf(x: Array64, axis: number, t: number): Array64 {
  const cuts = x.shape.map((size, i) =>
    i === axis ? { start: t, step: 1, count: 1 } : { start: 0, step: 1, count: size },
  );
  return reshaped(sliced(x, cuts), x.shape.toSpliced(axis, 1));
}

/** Steps joined along a new axis. */
function joinedSteps(parts: readonly Array64[], along: number): Array64 {
  const [first] = parts;
  if (first === undefined) throw new Error("a Scan without steps");
  const axis = axisOf(along, first.shape.length + 1);
  return concatenated(
    parts.map((part) => reshaped(part, part.shape.toSpliced(axis, 0, 1))),
    axis,
  );
}

/** Scan from operator set 9 on. */
function scan(call: Call): readonly Array64[] {
  const body = bodyOf(call, "body");
  const count = intAttribute(call.node, "num_scan_inputs", 0);
  const states = call.inputs.length - count;
  const list = (name: string, i: number): number => intsAttribute(call.node, name)?.[i] ?? 0;
  const scanned = Array.from({ length: count }, (_, i) => {
    const x = operand(call, states + i);
    return { x, axis: axisOf(list("scan_input_axes", i), x.shape.length) };
  });
  const steps = scanned[0]?.x.shape[scanned[0].axis] ?? 0;
  let carried = Array.from({ length: states }, (_, i) => operand(call, i));
  const rounds: Array64[][] = [];
  for (let t = 0; t < steps; t++) {
    const now = scanned.map(({ x, axis }, i) =>
      stepOf(x, axis, list("scan_input_directions", i) === 0 ? t : steps - 1 - t),
    );
    const results = call.run(body, [...carried, ...now]);
    carried = results.slice(0, states);
    rounds.push(results.slice(states));
  }
  const outputs = Array.from({ length: body.outputs.length - states }, (_, i) => {
    const parts = rounds.flatMap((round) => round[i] ?? []);
    const ordered = list("scan_output_directions", i) === 0 ? parts : parts.reverse();
    return joinedSteps(ordered, list("scan_output_axes", i));
  });
  return [...carried, ...outputs];
}

/** All ops of this family. */
export const control: Kernels = { If: branch, Loop: loop, Scan: scan };
