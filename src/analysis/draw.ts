// The picture of a model's skips as one SVG that needs nothing else: the main path as a line of nodes, each
// skip as an arc over it, and underneath how much memory is alive while each node runs.

import { formatBytes } from "../base/format.ts";
import {
  foldedAtFirst,
  layoutPicture,
  MARGIN,
  type PictureLayout,
  type PlacedSkip,
  pathOf,
  round,
  xOf,
} from "./picture/layout.ts";
import { kindStyles } from "./picture/looks.ts";
import type { Picture, PictureRole } from "./picture/picture.ts";
import {
  bandPath,
  blockLabels,
  circle,
  nodePath,
  nodePaths,
  stageLabels,
} from "./picture/shapes.ts";
import { describeSkip, pictureSummary, sizesText } from "./picture/words.ts";

const WIDTH = 1180;
const HEAD = 84;
const BAND = 92;
/** From the main path to the band: stages and folded blocks have their labels there. */
const BELOW = 56;
const TAIL = 34;
/** More nodes, or narrower slots, have no tips of their own. */
const TIPS_MAX = 2000;
const TIP_WIDTH_MIN = 2.5;
const LETTER = 6.2;

interface Sheet {
  readonly picture: Picture;
  readonly layout: PictureLayout;
  readonly width: number;
  /** y of the main path, and of the bottom of the band. */
  readonly base: number;
  readonly bottom: number;
}

/** The picture as the text of an SVG file. Runs of equal blocks are folded where they make it too wide. */
export function drawPicture(picture: Picture): string {
  const layout = layoutPicture(picture, { width: WIDTH, folded: foldedAtFirst(picture, WIDTH) });
  const base = Math.round(HEAD + 22 + layout.reach);
  const bottom = base + BELOW + BAND;
  const sheet = { picture, layout, width: Math.max(760, layout.width), base, bottom };
  const height = bottom + TAIL;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${sheet.width} ${height}" width="${sheet.width}" height="${height}" role="img" aria-labelledby="title description" font-family="ui-sans-serif, system-ui, sans-serif">`,
    `<title id="title">${escapeXml(picture.title)}: ${picture.counts.total} skip connections</title>`,
    `<desc id="description">${escapeXml(description(picture))}</desc>`,
    style(),
    `<rect class="paper" width="${sheet.width}" height="${height}"/>`,
    heading(sheet),
    legend(sheet),
    blocks(sheet),
    stages(sheet),
    peakLine(sheet),
    mainPath(sheet),
    `<g fill="none">${layout.skips.map((placed) => arc(placed, base)).join("")}</g>`,
    marks(sheet),
    band(sheet),
    "</svg>",
    "",
  ].join("\n");
}

function style(): string {
  return `<style>${paperStyle(`${kindStyles("light")}.skip:hover{opacity:1;stroke-width:6px}`, kindStyles("dark"))}</style>${HATCH}`;
}

/** The colours of paper, ink and memory, on light and dark screens, with more of each. */
export function paperStyle(light = "", dark = ""): string {
  return [
    ".paper{fill:#fff}.ink{fill:#1f2328}.soft{fill:#59636e}.line{stroke:#8c959f}",
    ".transform{fill:#1f2328}.other{fill:#8c959f}.hollow{fill:#fff;stroke:#1f2328;stroke-width:1.2}",
    ".fold{fill:#59636e1f;stroke:#8c959f}.tick{stroke:#d1d9e0}",
    ".memory{fill:#1f6feb22;stroke:#1f6feb}.held{fill:url(#hatch);stroke:none}.hatch{stroke:#1f6feb}",
    `.peak{stroke:#c2410c;stroke-dasharray:3 3}.mark{fill:#c2410c}${light}`,
    // Paper of printers is light, whatever the screen is.
    "@media screen and (prefers-color-scheme:dark){",
    ".paper{fill:#0d1117}.ink{fill:#e6edf3}.soft{fill:#9198a1}.line{stroke:#656c76}",
    ".transform{fill:#e6edf3}.other{fill:#656c76}.hollow{fill:#0d1117;stroke:#e6edf3}",
    ".fold{fill:#9198a12e;stroke:#656c76}.tick{stroke:#3d444d}",
    ".memory{fill:#79b8ff2e;stroke:#79b8ff}.hatch{stroke:#79b8ff}",
    `.peak{stroke:#ffab70}.mark{fill:#ffab70}${dark}`,
    "}",
  ].join("");
}

/** The pattern of what is alive for skips alone. */
export const HATCH =
  '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path class="hatch" d="M0 0V6" stroke-width="2" opacity="0.6"/></pattern></defs>';

function heading({ picture }: Sheet): string {
  return [
    `<text class="ink" x="${MARGIN}" y="28" font-size="16" font-weight="600">${escapeXml(picture.title)}</text>`,
    `<text class="soft" x="${MARGIN}" y="47" font-size="12">${escapeXml(pictureSummary(picture))}</text>`,
  ].join("");
}

function legend({ picture }: Sheet): string {
  const kinds = [...new Set(picture.skips.map((skip) => skip.kind))];
  let x = MARGIN;
  const entries = kinds.map((kind) => {
    const at = x;
    x += 48 + kind.length * LETTER;
    return `<line class="k-${kind}" x1="${at}" y1="63" x2="${at + 28}" y2="63" stroke-width="3"/><text class="soft" x="${at + 33}" y="67" font-size="11">${kind}</text>`;
  });
  const notes = [
    picture.skips.length > 0 ? "width: bytes carried" : "",
    picture.skips.some((skip) => skip.atPeak) ? "◆ alive at the memory peak" : "",
  ].filter((note) => note !== "");
  const note = `<text class="soft" x="${x + 6}" y="67" font-size="11">${notes.join(" · ")}</text>`;
  return `<g>${entries.join("")}${note}</g>`;
}

/** Folded blocks as boxes on the main path; what is in them is said, and its skips are drawn. */
function blocks({ layout, base }: Sheet): string {
  const boxes = blockLabels(layout).map(({ placed, whole, text, x }) => {
    const { left, right } = placed;
    const box = `<rect class="fold" x="${round(left)}" y="${base - 7}" width="${round(right - left)}" height="14" rx="4"/>`;
    const label = `<text class="soft" x="${x}" y="${base + 40}" font-size="11" text-anchor="middle">${escapeXml(text)}</text>`;
    return `<g><title>${escapeXml(whole)}</title>${box}${text === "" ? "" : label}</g>`;
  });
  return `<g>${boxes.join("")}</g>`;
}

function stages({ picture, layout, base }: Sheet): string {
  const labels = stageLabels(picture, layout).map(
    ({ x, text }) =>
      `<path class="tick" d="M${x} ${base + 12}V${base + 26}"/><text class="soft" x="${x + 4}" y="${base + 24}" font-size="11">${escapeXml(text)}</text>`,
  );
  return `<g fill="none">${labels.join("")}</g>`;
}

/** The moment of the peak, through the band and the main path. */
function peakLine({ picture, layout, base, bottom }: Sheet): string {
  if (picture.nodes.length === 0) return "";
  const x = round(xOf(layout.edges, picture.memory.peakAt));
  return `<line class="peak" x1="${x}" y1="${base + 8}" x2="${x}" y2="${bottom}"/>`;
}

function mainPath({ picture, layout, base }: Sheet): string {
  const { nodes } = picture;
  const { edges } = layout;
  const [start, end] = [round(xOf(edges, -1)), round(xOf(edges, nodes.length))];
  const tips = nodes.length <= TIPS_MAX;
  const room = (place: number): number => (edges[place + 2] ?? 0) - (edges[place + 1] ?? 0);
  const hasTip = (place: number): boolean => tips && room(place) >= TIP_WIDTH_MIN;
  const together = nodePaths(picture, layout, base, (place) => !hasTip(place));
  const single = nodes.map((node, place) => {
    if (!hasTip(place)) return "";
    const shape = nodePath(node.role, { x: xOf(edges, place), y: base, room: room(place) });
    const tip = escapeXml(`${node.name} (${node.op})`);
    return `<path class="${classOf(node.role)}" d="${shape}"><title>${tip}</title></path>`;
  });
  return [
    `<g><line class="line" x1="${start}" y1="${base}" x2="${end}" y2="${base}"/>`,
    `<path class="hollow" d="${circle(start, base, 3.4)}"><title>${escapeXml(`input ${picture.input}`)}</title></path>`,
    `<path class="hollow" d="${circle(end, base, 3.4)}"><title>${escapeXml(`output ${picture.output}`)}</title></path>`,
    ...together.map(({ role, path }) => `<path class="${classOf(role)}" d="${path}"/>`),
    ...single,
    "</g>",
  ].join("");
}

function classOf(role: PictureRole): string {
  return role === "merge" || role === "shortcut" ? "hollow" : role;
}

function arc(placed: PlacedSkip, base: number): string {
  const { skip, stroke } = placed;
  return `<path class="skip k-${skip.kind}" data-skip="${skip.id}" d="${pathOf(placed, base - 6)}" stroke-width="${round(stroke)}" opacity="0.88"><title>${escapeXml(describeSkip(skip))}</title></path>`;
}

/** Ids of the skips, and a mark at those that stand at the peak. */
function marks({ layout, base }: Sheet): string {
  const labels = layout.skips.map(({ skip, x1, x2, height }) => {
    const mark = skip.atPeak ? "◆" : "";
    const text = (x2 - x1) / 9 > skip.id.length + mark.length ? mark + skip.id : mark;
    if (text === "") return "";
    return `<text class="${skip.atPeak ? "mark" : "soft"}" x="${round((x1 + x2) / 2)}" y="${round(base - 11 - height)}" font-size="10" text-anchor="middle">${text}</text>`;
  });
  return `<g>${labels.join("")}</g>`;
}

function band({ picture, layout, base, bottom, width }: Sheet): string {
  const { memory, nodes } = picture;
  if (nodes.length === 0) return "";
  const top = base + BELOW;
  const place = { bottom, height: BAND - 20, most: memory.peakBytes };
  const x = round(xOf(layout.edges, memory.peakAt));
  const anchor = x > width / 2 ? "end" : "start";
  const peakName = nodes[memory.peakAt]?.name ?? "";
  const label = `peak ${formatBytes(memory.peakBytes)} at ${peakName}`;
  const held = memory.skipBytes[memory.peakAt] ?? 0;
  const share = held > 0 ? `, ${formatBytes(held)} of it for skips alone` : "";
  const unknown = memory.unknown > 0 ? `, ${memory.unknown} values of unknown size left out` : "";
  const caption = `activations alive, ${escapeXml(sizesText(picture))}${unknown}; hatched: for skips alone`;
  return [
    `<g><text class="soft" x="${MARGIN}" y="${top + 4}" font-size="11">${caption}</text>`,
    `<path class="memory" d="${bandPath(memory.bytes, layout, place)}"/>`,
    `<path class="held" d="${bandPath(memory.skipBytes, layout, place)}"/>`,
    `<text class="ink" x="${anchor === "end" ? x + 4 : x - 4}" y="${bottom + 17}" font-size="11" text-anchor="${anchor}">${escapeXml(label + share)}</text></g>`,
  ].join("");
}

function description(picture: Picture): string {
  const kinds = [...new Set(picture.skips.map((skip) => skip.kind))].join(", ");
  return `Arc diagram of ${picture.nodes.length} nodes with ${picture.counts.total} skip connections (${kinds || "none"}), over the memory alive at each node; the peak is ${formatBytes(picture.memory.peakBytes)}.`;
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
