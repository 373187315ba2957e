// A graph as text that is equal exactly when the graphs mean the same: an independent comparison for
// round trips, which looks at nothing but the public fields.

import type { Graph } from "../src/graph/graph.ts";

/** The text of a graph, with maps as sorted lists and bytes in hexadecimal. */
export function comparable(graph: Graph): string {
  return JSON.stringify(graph, (_key, value: unknown) => {
    if (value instanceof Map) {
      return [...value].sort(([a], [b]) => (String(a) < String(b) ? -1 : 1));
    }
    if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
    if (typeof value === "bigint") return `${value}n`;
    if (typeof value === "number" && !Number.isFinite(value)) return String(value);
    return value;
  });
}
