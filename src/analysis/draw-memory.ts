// The memory band of a picture by itself, larger: how much is alive while each node runs, what of it for skips
// alone, and what stands at the peak. One SVG that needs nothing else; nodes stand where the picture has them.

import { formatBytes } from "../base/format.ts";
import { escapeXml, HATCH, paperStyle } from "./draw.ts";
import {
  foldedAtFirst,
  layoutPicture,
  MARGIN,
  type PictureLayout,
  round,
  xOf,
} from "./picture/layout.ts";
import type { Picture } from "./picture/picture.ts";
import { bandPath, blockLabels, stageLabels } from "./picture/shapes.ts";
import { pictureSummary, sizesText } from "./picture/words.ts";

const WIDTH = 1180;
const WIDTH_MIN = 760;
const HEAD = 100;
const HEIGHT = 240;
/** For stages and folded blocks, and what stands at the peak. */
const BELOW = 74;
/** More nodes, or narrower slots, have no tips of their own. */
const TIPS_MAX = 2000;
const TIP_WIDTH_MIN = 2.5;
const LETTER = 6.2;

interface Sheet {
  readonly picture: Picture;
  readonly layout: PictureLayout;
  readonly width: number;
  readonly bottom: number;
}

/**
 * The band as the text of an SVG file.
 *
 * @param atPeak ids of the skips that stand at the peak, as the memory report names them
 */
export function drawMemory(picture: Picture, atPeak: readonly string[]): string {
  const layout = layoutPicture(picture, { width: WIDTH, folded: foldedAtFirst(picture, WIDTH) });
  const width = Math.max(WIDTH_MIN, layout.width);
  const bottom = HEAD + HEIGHT;
  const sheet = { picture, layout, width, bottom };
  const height = bottom + BELOW;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-labelledby="title description" font-family="ui-sans-serif, system-ui, sans-serif">`,
    `<title id="title">${escapeXml(picture.title)}: memory over time</title>`,
    `<desc id="description">${escapeXml(description(picture, atPeak))}</desc>`,
    `<style>${paperStyle()}</style>${HATCH}`,
    `<rect class="paper" width="${width}" height="${height}"/>`,
    heading(picture),
    ...(picture.nodes.length === 0 ? [] : [scale(sheet), areas(sheet), peak(sheet, atPeak)]),
    labels(sheet),
    tips(sheet),
    "</svg>",
    "",
  ].join("\n");
}

function heading(picture: Picture): string {
  const { unknown } = picture.memory;
  const left = unknown > 0 ? `, ${unknown} values of unknown size left out` : "";
  const caption = `activations alive, ${sizesText(picture)}${left}; hatched: for skips alone`;
  return [
    `<text class="ink" x="${MARGIN}" y="28" font-size="16" font-weight="600">${escapeXml(picture.title)}</text>`,
    `<text class="soft" x="${MARGIN}" y="47" font-size="12">${escapeXml(pictureSummary(picture))}</text>`,
    `<text class="soft" x="${MARGIN}" y="66" font-size="11">${escapeXml(caption)}</text>`,
  ].join("");
}

/** Lines at quarters of the peak, each with its bytes. */
function scale({ picture, layout, bottom }: Sheet): string {
  const [left, right] = [layout.edges[1] ?? 0, layout.edges[picture.nodes.length + 1] ?? 0];
  const lines = [0.25, 0.5, 0.75, 1].map((share) => {
    const y = round(bottom - share * HEIGHT);
    const text = formatBytes(share * picture.memory.peakBytes);
    return `<path class="tick" d="M${round(left)} ${y}H${round(right)}"/><text class="soft" x="${round(right)}" y="${y - 3}" font-size="10" text-anchor="end">${text}</text>`;
  });
  return `<g>${lines.join("")}</g>`;
}

function areas({ picture, layout, bottom }: Sheet): string {
  const { memory } = picture;
  const place = { bottom, height: HEIGHT, most: memory.peakBytes };
  return [
    `<path class="memory" d="${bandPath(memory.bytes, layout, place)}"/>`,
    `<path class="held" d="${bandPath(memory.skipBytes, layout, place)}"/>`,
  ].join("");
}

/** The moment of the peak, with its node and the skips that stand there. */
function peak({ picture, layout, width, bottom }: Sheet, atPeak: readonly string[]): string {
  const { memory, nodes } = picture;
  const x = round(xOf(layout.edges, memory.peakAt));
  const end = x > width / 2;
  const held = memory.skipBytes[memory.peakAt] ?? 0;
  const share = held > 0 ? `, ${formatBytes(held)} of it for skips alone` : "";
  const text = `peak ${formatBytes(memory.peakBytes)} at ${nodes[memory.peakAt]?.name ?? ""}${share}`;
  const room = (end ? x : width - x) - MARGIN;
  const standing = atPeak.length === 0 ? "" : fitted(`◆ ${atPeak.join(", ")}`, room);
  const line = (y: number, ink: string, content: string): string =>
    `<text class="${ink}" x="${end ? x + 4 : x - 4}" y="${y}" font-size="11" text-anchor="${end ? "end" : "start"}">${escapeXml(content)}</text>`;
  return [
    `<line class="peak" x1="${x}" y1="${HEAD - 14}" x2="${x}" y2="${bottom + 4}"/>`,
    line(bottom + 48, "ink", text),
    standing === "" ? "" : line(bottom + 64, "mark", standing),
  ].join("");
}

/** As much of a text as a width has room for. */
function fitted(text: string, width: number): string {
  const letters = [...text];
  const most = Math.max(8, Math.floor(width / LETTER));
  return letters.length <= most ? text : `${letters.slice(0, most - 1).join("")}…`;
}

/** Stages, and folded blocks under them. */
function labels({ picture, layout, bottom }: Sheet): string {
  const stages = stageLabels(picture, layout).map(
    ({ x, text }) =>
      `<path class="tick" d="M${x} ${bottom + 2}V${bottom + 16}"/><text class="soft" x="${x + 4}" y="${bottom + 14}" font-size="11">${escapeXml(text)}</text>`,
  );
  const blocks = blockLabels(layout).map(({ placed, whole, text, x }) => {
    const width = round(placed.right - placed.left);
    const box = `<rect class="fold" x="${round(placed.left)}" y="${bottom}" width="${width}" height="4"><title>${escapeXml(whole)}</title></rect>`;
    const label = `<text class="soft" x="${x}" y="${bottom + 29}" font-size="11" text-anchor="middle">${escapeXml(text)}</text>`;
    return `${box}${text === "" ? "" : label}`;
  });
  return `<g>${stages.join("")}${blocks.join("")}</g>`;
}

/** What a pointer is told over each node. */
function tips({ picture, layout, bottom }: Sheet): string {
  const { nodes, memory } = picture;
  if (nodes.length > TIPS_MAX) return "";
  const columns = nodes.map(({ name, op }, place) => {
    const [left, right] = [layout.edges[place + 1] ?? 0, layout.edges[place + 2] ?? 0];
    if (right - left < TIP_WIDTH_MIN) return "";
    const held = memory.skipBytes[place] ?? 0;
    const share = held > 0 ? `, ${formatBytes(held)} for skips alone` : "";
    const tip = `${name} (${op}): ${formatBytes(memory.bytes[place] ?? 0)}${share}`;
    return `<rect x="${round(left)}" y="${HEAD}" width="${round(right - left)}" height="${bottom - HEAD}"><title>${escapeXml(tip)}</title></rect>`;
  });
  return `<g fill-opacity="0">${columns.join("")}</g>`;
}

function description(picture: Picture, atPeak: readonly string[]): string {
  const { memory, nodes } = picture;
  const standing = atPeak.length === 0 ? "no skip" : atPeak.join(", ");
  return `Memory alive while each of ${nodes.length} nodes runs; the peak is ${formatBytes(memory.peakBytes)} at ${nodes[memory.peakAt]?.name ?? ""}, where ${standing} stands.`;
}
