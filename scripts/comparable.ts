// A graph as text that is equal exactly when the graphs mean the same: an independent comparison for
// round trips, which looks at nothing but the public fields. Where nodes come from is no part of what they mean.

import type { Graph } from "../src/graph/graph.ts";

/** Fields that say where parts of a graph come from. */
const PROVENANCE = new Set(["originals", "folded"]);

/** The text of a graph, with maps as sorted lists and bytes in hexadecimal; `without` leaves a field out. */
export function comparable(graph: Graph, without?: "remarks"): string {
  return JSON.stringify(graph, (key, value: unknown) => {
    if (PROVENANCE.has(key) || key === without) return undefined;
    if (value instanceof Map) {
      return [...value].sort(([a], [b]) => (String(a) < String(b) ? -1 : 1));
    }
    if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
    if (typeof value === "bigint") return `${value}n`;
    if (typeof value === "number" && !Number.isFinite(value)) return String(value);
    return value;
  });
}
