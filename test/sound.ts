// What every pass owes: a graph that the standard, and with it the runtime, has nothing against.

import { expect } from "vitest";
import type { Graph } from "../src/graph/graph.ts";
import { verify } from "../src/ops/verify.ts";

/** The same graph, after a look at all of it. */
export function sound(graph: Graph): Graph {
  expect(verify(graph)).toEqual([]);
  return graph;
}
