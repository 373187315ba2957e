// The page docs/reference/models.md: every model of the zoo, built, counted and looked at, beside what its
// authors published.

import { census } from "../src/analysis/census.ts";
import { bindBatch } from "../src/analysis/memory.ts";
import type { SkipKind } from "../src/analysis/skips/skip.ts";
import type { Graph } from "../src/graph/graph.ts";
import { typeOf } from "../src/graph/query.ts";
import { formatShape } from "../src/graph/shape.ts";
import { type ZooModel, zoo } from "../src/nn/models/index.ts";
import { buildNet } from "../src/nn/net.ts";
import { opOf } from "../src/ops/index.ts";

/** Where the page is kept. */
export const MODELS_PAGE = "docs/reference/models.md";

/** Ops whose arithmetic papers count: sums of products. */
const PRODUCTS = new Set(["Conv", "ConvTranspose", "Gemm", "MatMul"]);

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
  const { parameters, macs } = model.published ?? {};
  return `| ${[
    name,
    graph.inputs.map((one) => `${one.name} ${formatShape(one.shape)}`).join(", "),
    parametersOf(graph).toLocaleString("en"),
    parameters?.toLocaleString("en") ?? "",
    inUnits(macsOf(graph)),
    macs === undefined ? "" : inUnits(macs),
    skipsOf(graph),
    graph.nodes.length,
  ].join(" | ")} |`;
}

function parametersOf(graph: Graph): number {
  const statistics = new Set(
    graph.nodes.flatMap((node) => (node.op === "BatchNormalization" ? node.inputs.slice(3) : [])),
  );
  let total = 0;
  for (const [name, { dtype, shape }] of graph.initializers) {
    if (dtype !== "float32" || !name.includes(".") || statistics.has(name)) continue;
    total += shape.reduce((a, b) => a * b, 1);
  }
  return total;
}

/** Undefined where a size is not a number. */
function macsOf(graph: Graph): number | undefined {
  const bound = bindBatch(graph, 1);
  let total = 0;
  for (const node of bound.nodes) {
    if (!PRODUCTS.has(node.op)) continue;
    const types = (names: readonly string[]) => names.map((name) => typeOf(bound, name));
    const cost = opOf(node)?.cost(node, types(node.inputs), types(node.outputs));
    if (cost === undefined) return undefined;
    total += cost.flops / 2;
  }
  return total;
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
