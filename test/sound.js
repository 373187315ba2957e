// What every pass owes: a graph that the standard, and with it the runtime, has nothing against.
import { expect } from "vitest";
import { verify } from "../src/ops/verify.js";
/** The same graph, after a look at all of it. */
export function sound(graph) {
    expect(verify(graph)).toEqual([]);
    return graph;
}
