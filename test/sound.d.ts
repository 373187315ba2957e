import type { Graph } from "../src/graph/graph.ts";
/** The same graph, after a look at all of it. */
export declare function sound(graph: Graph): Graph;
