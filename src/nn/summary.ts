// The table that people expect of a network, as data and as text.

import {
  type Summary,
  type SummaryOptions,
  type SummaryRow,
  summarize,
} from "../analysis/summary.ts";
import { formatCount } from "../base/format.ts";
import { type Column, tableLines } from "../base/table.ts";
import type { Graph } from "../graph/graph.ts";
import { formatShape } from "../graph/shape.ts";
import type { Layer } from "./layer.ts";
import { buildNet, type NetInput } from "./net.ts";

/**
 * Counts a network layer by layer: output shapes, parameters, multiply-accumulates, skips. A layer is built
 * without weights for it.
 *
 * @throws SkipwayError `input` when the layer cannot be built on this input.
 * @example
 * const found = nn.summary(net, { input: { name: "image", shape: [3, 224, 224] } });
 * console.log(nn.summaryText(found));
 */
export function summary(
  net: Layer,
  options: SummaryOptions & { readonly input: NetInput },
): Summary;
export function summary(net: Graph, options?: SummaryOptions): Summary;
export function summary(
  net: Layer | Graph,
  options: SummaryOptions & { readonly input?: NetInput } = {},
): Summary {
  if ("nodes" in net) return summarize(net, options);
  // The first signature asks for an input; without one there is nothing to build on.
  const { input = { name: "x", shape: [] } } = options;
  return summarize(buildNet(net, { input, output: "y", seed: 1, weights: "absent" }), options);
}

const COLUMNS: readonly Column[] = [
  { title: "layer", flexible: true },
  { title: "ops", flexible: true },
  { title: "output" },
  { title: "parameters", align: "right" },
  { title: "MACs", align: "right" },
  { title: "skips", flexible: true },
];

/** The table of a summary, and its sums below. */
export function summaryText(found: Summary, options: { readonly width?: number } = {}): string {
  const { width = 100 } = options;
  const lines = tableLines(COLUMNS, found.rows.map(cellsOf), width);
  const rule = lines[1] ?? "";
  return [...lines, rule, ...sumsOf(found)].join("\n");
}

function cellsOf(row: SummaryRow): string[] {
  const count = (n: number): string => (n === 0 ? "" : formatCount(n));
  return [
    row.name,
    row.ops.join(" "),
    formatShape(row.shape),
    count(row.parameters),
    row.macs === undefined ? "?" : count(row.macs),
    row.skips.map((skip) => `${skip.kind} from ${skip.source}`).join(", "),
  ];
}

function sumsOf(found: Summary): string[] {
  const { parameters, statistics, macs, batch, uncounted, skips } = found;
  const apart = statistics === 0 ? "" : `, and ${formatCount(statistics)} running statistics`;
  const least = uncounted.length === 0 ? "" : "at least ";
  return [
    `parameters  ${formatCount(parameters)}${apart}`,
    `MACs        ${least}${inUnits(macs)} for a batch of ${batch}`,
    `skips       ${skips.total}`,
  ];
}

/** `4089184256` → `4.09 G`. */
function inUnits(count: number): string {
  const units = [
    [1e12, "T"],
    [1e9, "G"],
    [1e6, "M"],
  ] as const;
  const [size, unit] = units.find(([one]) => count >= one) ?? [1, ""];
  return size === 1 ? formatCount(count) : `${(count / size).toFixed(2)} ${unit}`;
}
