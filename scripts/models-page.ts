// The page docs/reference/models.md: every model of the zoo, built, counted and looked at, beside what its
// authors published.

import { census } from "../src/analysis/census.ts";
import type { SkipKind } from "../src/analysis/skips/skip.ts";
import type { Graph } from "../src/graph/graph.ts";
import { formatShape } from "../src/graph/shape.ts";
import { type ZooModel, zoo } from "../src/nn/models/index.ts";
import { buildNet } from "../src/nn/net.ts";
import { summary } from "../src/nn/summary.ts";

/** Where the page is kept. */
export const MODELS_PAGE = "docs/reference/models.md";

/** The page. */
export function modelsPage(): string {
  const rows = Object.entries(zoo).map(([name, model]) => row(name, model));
  const sources = new Set(Object.values(zoo).flatMap(({ published }) => published?.source ?? []));
  return `# Models

Made by \`npm run generate:zoo\` from the list in \`src/nn/models/index.ts\`; not edited by hand.

- **Parameters**: elements of all weights; running statistics of norms do not count. A weight that two layers share counts
  once.
- **MACs**: multiply-accumulates of convolutions and matrix products, those of attention included, for one example.
- **Published**: what the source says. MACs are published rounded.
- **Skips**: as the census finds them, by kind.

| model | input | parameters | published | MACs | published | skips | nodes |
| --- | --- | --- | --- | --- | --- | --- | --- |
${rows.join("\n")}
${sources.size === 0 ? "" : `\nPublished by: ${[...sources].join("; ")}.\n`}`;
}

function row(name: string, model: ZooModel): string {
  const graph = buildNet(model.build(), {
    input: model.input,
    output: "y",
    seed: 1,
    weights: "absent",
  });
  const found = summary(graph);
  const { parameters, macs } = model.published ?? {};
  return `| ${[
    name,
    graph.inputs.map((one) => `${one.name} ${formatShape(one.shape)}`).join(", "),
    found.parameters.toLocaleString("en"),
    parameters?.toLocaleString("en") ?? "",
    inUnits(found.uncounted.length === 0 ? found.macs : undefined),
    macs === undefined ? "" : inUnits(macs),
    skipsOf(graph),
    graph.nodes.length,
  ].join(" | ")} |`;
}

function inUnits(macs: number | undefined): string {
  if (macs === undefined) return "";
  return macs >= 1e9 ? `${(macs / 1e9).toFixed(2)} G` : `${(macs / 1e6).toFixed(1)} M`;
}

function skipsOf(graph: Graph): string {
  const found = new Map<SkipKind, number>();
  for (const { kind } of census(graph).skips) found.set(kind, (found.get(kind) ?? 0) + 1);
  return [...found].map(([kind, count]) => `${count} ${kind}`).join(", ") || "none";
}
