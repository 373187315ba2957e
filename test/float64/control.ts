// Control flow: bodies run as graphs that see the values around them.

import type { Graph } from "../../src/graph/graph.ts";
import { type Array64, array } from "./array.ts";
import { type Call, type Kernels, operand } from "./kernel.ts";
import { concatenated } from "./movement.ts";

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

/** All ops of this family. */
export const control: Kernels = { If: branch, Loop: loop };
