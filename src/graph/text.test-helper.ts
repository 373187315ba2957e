// Graphs of tests in their text form, which shows the graph where calls of a builder would hide it.

import type { Graph } from "./graph.ts";
import { parseGraph } from "./parse.ts";

const OPSETS: ReadonlyMap<string, number> = new Map([["", 20]]);

/** The graph of a text; operator set 20 if it names none. Backslashes are those of the text form. */
export function graph(strings: TemplateStringsArray, ...values: readonly unknown[]): Graph {
  return parseGraph(String.raw(strings, ...values), { opsets: OPSETS });
}
