// The picture of a model's skips: the main path as a line of nodes, each skip as an arc over it, and
// underneath how much memory is alive while each node runs. One SVG that needs nothing else.

import { formatBytes } from "../base/format.ts";
import type { Graph } from "../graph/graph.ts";
import { indexOf } from "../graph/query.ts";
import type { InferenceMemory } from "./memory.ts";
import { layoutArcs, type PlacedArc } from "./skips/arcs.ts";
import type { Census, Skip, SkipKind } from "./skips/skip.ts";
import { roleOf } from "./skips/vocabulary.ts";

/** Colour (light, dark), dash pattern and name of each kind: told apart without colour too. */
const KINDS: Readonly<Record<SkipKind, readonly [light: string, dark: string, dash: string]>> = {
  identity: ["#1f6feb", "#79b8ff", ""],
  projection: ["#c2410c", "#ffab70", "7 3"],
  pooled: ["#0e7490", "#67e8f9", "2 3"],
  padded: ["#4d7c0f", "#bef264", "9 3 2 3"],
  resampled: ["#9d174d", "#f9a8d4", "5 2 1 2"],
  concat: ["#6d28d9", "#c4b5fd", "12 3"],
  gated: ["#a16207", "#fde047", "3 2"],
  conditional: ["#b91c1c", "#fca5a5", "1 3"],
  recurrent: ["#334155", "#cbd5e1", "6 6"],
  "multi-stream": ["#0f766e", "#5eead4", "8 2 8 6"],
};

const MARGIN = 28;
const HEAD = 82;
const BAND = 84;
const PITCH_MAX = 13;
const WIDTH_MIN = 760;
const WIDTH_MAX = 6000;

interface Frame {
  readonly width: number;
  readonly height: number;
  readonly pitch: number;
  /** y of the main path. */
  readonly base: number;
  x(position: number): number;
}

/** The picture as the text of an SVG file. */
export function drawSkips(
  graph: Graph,
  census: Census,
  memory: InferenceMemory,
  options: { title?: string } = {},
): string {
  const count = Math.max(1, graph.nodes.length);
  const pitch = Math.min(PITCH_MAX, (WIDTH_MAX - 2 * MARGIN) / count);
  const width = Math.round(Math.max(WIDTH_MIN, 2 * MARGIN + (count + 1) * pitch));
  const arcs = layoutArcs(graph, census.skips, (width - 2 * MARGIN) / (count + 1));
  const reach = arcs.reduce((most, arc) => Math.max(most, arc.height), 0);
  const base = HEAD + 20 + reach;
  const step = (width - 2 * MARGIN) / (count + 1);
  const frame: Frame = {
    width,
    height: base + 44 + BAND + 30,
    pitch: step,
    base,
    x: (position) => MARGIN + (position + 1.5) * step,
  };
  const title = options.title ?? graph.name;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${frame.width} ${frame.height}" width="${frame.width}" height="${frame.height}" role="img" aria-labelledby="title description" font-family="ui-sans-serif, system-ui, sans-serif">`,
    `<title id="title">${escapeXml(title)}: ${census.counts.total} skip connections</title>`,
    `<desc id="description">${escapeXml(description(graph, census, memory))}</desc>`,
    style(),
    `<rect class="paper" width="${frame.width}" height="${frame.height}"/>`,
    heading(title, graph, census),
    legend(census.skips, frame),
    mainPath(graph, frame),
    `<g fill="none">${arcs.map((arc) => arcElement(arc, frame, arcs)).join("")}</g>`,
    band(memory, frame),
    "</svg>",
    "",
  ].join("\n");
}

function style(): string {
  const kinds = Object.entries(KINDS);
  const colours = (column: 0 | 1): string =>
    kinds.map(([kind, look]) => `.k-${kind}{stroke:${look[column]}}`).join("");
  const dashes = kinds
    .filter(([, look]) => look[2] !== "")
    .map(([kind, look]) => `.k-${kind}{stroke-dasharray:${look[2]}}`)
    .join("");
  return [
    "<style>",
    ".paper{fill:#fff}.ink{fill:#1f2328}.soft{fill:#59636e}.line{stroke:#8c959f}",
    ".transform{fill:#1f2328}.other{fill:#8c959f}.merge{fill:#fff;stroke:#1f2328;stroke-width:1.5}",
    ".memory{fill:#1f6feb22;stroke:#1f6feb}.peak{stroke:#c2410c;stroke-dasharray:3 3}",
    `${colours(0)}${dashes}`,
    ".skip:hover{opacity:1;stroke-width:6px}",
    "@media (prefers-color-scheme:dark){",
    ".paper{fill:#0d1117}.ink{fill:#e6edf3}.soft{fill:#9198a1}.line{stroke:#656c76}",
    ".transform{fill:#e6edf3}.other{fill:#656c76}.merge{fill:#0d1117;stroke:#e6edf3}",
    `.memory{fill:#79b8ff2e;stroke:#79b8ff}.peak{stroke:#ffab70}${colours(1)}`,
    "}",
    "@media print{.paper{fill:#fff}}",
    "</style>",
  ].join("");
}

function heading(title: string, graph: Graph, census: Census): string {
  const { counts } = census;
  const parts = [
    `${counts.total} skips`,
    counts.additiveIdentity > 0 ? `${counts.additiveIdentity} identity` : "",
    counts.additiveProjection > 0 ? `${counts.additiveProjection} projection` : "",
    counts.concat > 0 ? `${counts.concat} concatenations` : "",
    census.denseLinks > 0 ? `${census.denseLinks} dense links` : "",
    counts.encoderDecoder > 0 ? `${counts.encoderDecoder} encoder to decoder` : "",
    `${graph.nodes.length} nodes`,
  ].filter((part) => part !== "");
  return [
    `<text class="ink" x="${MARGIN}" y="26" font-size="16" font-weight="600">${escapeXml(title)}</text>`,
    `<text class="soft" x="${MARGIN}" y="45" font-size="12">${escapeXml(parts.join(" · "))}</text>`,
  ].join("");
}

function legend(skips: readonly Skip[], frame: Frame): string {
  const kinds = [...new Set(skips.map((skip) => skip.kind))];
  let x = MARGIN;
  const entries = kinds.map((kind) => {
    const at = x;
    x += 44 + kind.length * 6.6;
    return `<line class="k-${kind}" x1="${at}" y1="60" x2="${at + 26}" y2="60" stroke-width="3"/><text class="soft" x="${at + 31}" y="64" font-size="11">${kind}</text>`;
  });
  const note =
    skips.length > 0 && frame.width > 500
      ? `<text class="soft" x="${x + 8}" y="64" font-size="11">width = bytes carried</text>`
      : "";
  return `<g>${entries.join("")}${note}</g>`;
}

function mainPath(graph: Graph, frame: Frame): string {
  const { positions, uses } = indexOf(graph);
  const y = frame.base;
  const size = Math.max(1.2, Math.min(3.4, frame.pitch * 0.3));
  const line = `<line class="line" x1="${round(frame.x(-1))}" y1="${y}" x2="${round(frame.x(graph.nodes.length - 1))}" y2="${y}"/>`;
  const start = `<circle class="merge" cx="${round(frame.x(-1))}" cy="${y}" r="${round(size)}"><title>${escapeXml(graph.inputs.map((value) => value.name).join(", "))}</title></circle>`;
  const nodes = graph.nodes.map((node) => {
    const x = round(frame.x(positions.get(node) ?? 0));
    const tip = `<title>${escapeXml(`${node.name} (${node.op})`)}</title>`;
    const transform = roleOf(node, 1) === "transform";
    if (!transform)
      return `<circle class="other" cx="${x}" cy="${y}" r="${round(size * 0.7)}">${tip}</circle>`;
    const side = round(size * 2);
    return `<rect class="transform" x="${round(x - size)}" y="${round(y - size)}" width="${side}" height="${side}">${tip}</rect>`;
  });
  const [first] = graph.inputs.filter(
    ({ name }) => !graph.initializers.has(name) && (uses.get(name)?.length ?? 0) > 0,
  );
  const last = graph.outputs[0];
  const ends = [
    `<text class="soft" x="${round(frame.x(-1))}" y="${y + 20}" font-size="11">${escapeXml(first?.name ?? "")}</text>`,
    `<text class="soft" x="${round(frame.x(graph.nodes.length - 1))}" y="${y + 20}" font-size="11" text-anchor="end">${escapeXml(last?.name ?? "")}</text>`,
  ];
  return `<g>${line}${start}${nodes.join("")}${ends.join("")}</g>`;
}

function arcElement(arc: PlacedArc, frame: Frame, all: readonly PlacedArc[]): string {
  const { skip } = arc;
  const most = all.reduce((max, one) => Math.max(max, one.skip.bytes ?? 0), 1);
  const width = 1.2 + 3 * Math.sqrt((skip.bytes ?? 0) / most);
  const [x1, x2] = [round(frame.x(arc.from)), round(frame.x(arc.to))];
  const y = frame.base - 6;
  const top = round(y - arc.height * (4 / 3));
  const bytes = skip.bytes === undefined ? "size unknown" : formatBytes(skip.bytes);
  const tip = `${skip.id} ${skip.kind}: ${skip.source} → ${skip.merge}, spans ${skip.span} transforms, ${bytes}`;
  const path = `<path class="skip k-${skip.kind}" data-skip="${skip.id}" d="M${x1} ${y}C${x1} ${top} ${x2} ${top} ${x2} ${y}" stroke-width="${round(width)}" opacity="0.85"><title>${escapeXml(tip)}</title></path>`;
  const room = (x2 - x1) / 8 > skip.id.length;
  const label = room
    ? `<text class="soft" x="${round((x1 + x2) / 2)}" y="${round(y - arc.height - 5)}" font-size="10" text-anchor="middle">${skip.id}</text>`
    : "";
  return path + label;
}

function band(memory: InferenceMemory, frame: Frame): string {
  const top = frame.base + 44;
  const bottom = top + BAND;
  const peak = Math.max(1, memory.peakBytes);
  const y = (bytes: number): number => round(bottom - (bytes / peak) * (BAND - 18));
  const points = memory.timeline.flatMap(({ bytes }, i) => {
    const [left, right] = [frame.x(i - 0.5), frame.x(i + 0.5)];
    return [`${round(left)} ${y(bytes)}`, `${round(right)} ${y(bytes)}`];
  });
  if (points.length === 0) return "";
  const at = memory.timeline.findIndex(({ node }) => node === memory.peakNode);
  const x = round(frame.x(Math.max(0, at)));
  const anchor = x > frame.width / 2 ? "end" : "start";
  const label = `peak ${formatBytes(memory.peakBytes)} at ${memory.peakNode}`;
  return [
    `<g><text class="soft" x="${MARGIN}" y="${top}" font-size="11">activations alive, batch ${memory.batch}</text>`,
    `<path class="memory" d="M${round(frame.x(-0.5))} ${bottom}L${points.join("L")}L${round(frame.x(memory.timeline.length - 0.5))} ${bottom}Z"/>`,
    `<line class="peak" x1="${x}" y1="${top + 6}" x2="${x}" y2="${bottom}"/>`,
    `<text class="ink" x="${anchor === "end" ? x - 6 : x + 6}" y="${bottom + 16}" font-size="11" text-anchor="${anchor}">${escapeXml(label)}</text></g>`,
  ].join("");
}

function description(graph: Graph, census: Census, memory: InferenceMemory): string {
  const kinds = [...new Set(census.skips.map((skip) => skip.kind))].join(", ");
  return `Arc diagram of ${graph.nodes.length} nodes with ${census.counts.total} skip connections (${kinds || "none"}), over the memory alive at each node; the peak is ${formatBytes(memory.peakBytes)}.`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

/** Text that is safe in XML: names come from files that nobody checked. */
export function escapeXml(text: string): string {
  const plain = [...text].filter((c) => c >= " " && c !== "\u007f" && c < "\ufffe").join("");
  return plain
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}
