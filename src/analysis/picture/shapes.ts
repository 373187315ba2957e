// Shapes of a picture in the syntax of SVG paths, and labels that fit where they stand.

import { type PictureLayout, type PlacedBlock, round, xOf } from "./layout.ts";
import type { Picture, PictureRole } from "./picture.ts";

/** Width of a letter of the small labels, about. */
const LETTER = 6.2;
/** A label that is cut more than this is left out. */
const READABLE_SHARE = 0.75;

/** Transforms are squares, merges circles, nodes of shortcuts squares too (drawn hollow), others dots. */
export function nodePath(
  role: PictureRole,
  { x, y, room }: { x: number; y: number; room: number },
): string {
  const size = Math.max(0.6, Math.min(3.6, room * 0.32));
  if (role === "merge") return circle(round(x), y, round(size * 1.1));
  if (role === "other") return circle(round(x), y, round(size * 0.6));
  const side = round(size * 2);
  return `M${round(x - size)} ${round(y - size)}h${side}v${side}h${-side}z`;
}

/** All nodes that `wanted` picks as one path for each role: a page with thousands of elements is slow. */
export function nodePaths(
  picture: Picture,
  { edges }: PictureLayout,
  y: number,
  wanted: (place: number) => boolean = () => true,
): readonly { readonly role: PictureRole; readonly path: string }[] {
  const shapes = new Map<PictureRole, string[]>();
  picture.nodes.forEach(({ role }, place) => {
    if (!wanted(place)) return;
    const room = (edges[place + 2] ?? 0) - (edges[place + 1] ?? 0);
    const list = shapes.get(role) ?? [];
    list.push(nodePath(role, { x: xOf(edges, place), y, room }));
    shapes.set(role, list);
  });
  return [...shapes].map(([role, list]) => ({ role, path: list.join("") }));
}

/** A circle around (x, y). */
export function circle(x: number, y: number, r: number): string {
  return `M${round(x - r)} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`;
}

/** Bytes over time as an area of steps. */
export function bandPath(
  bytes: readonly number[],
  { edges }: PictureLayout,
  { bottom, height, most }: { bottom: number; height: number; most: number },
): string {
  const y = (value: number): number => round(bottom - (value / Math.max(1, most)) * height);
  const steps = bytes.map((value, i) => `H${round(edges[i + 1] ?? 0)}V${y(value)}`);
  const [left, right] = [edges[1] ?? 0, edges[bytes.length + 1] ?? 0];
  return `M${round(left)} ${bottom}${steps.join("")}H${round(right)}V${bottom}Z`;
}

/** Labels of the stages that have room, cut where they have little. `x` is the stage's left edge. */
export function stageLabels(
  picture: Picture,
  { edges }: PictureLayout,
): readonly { readonly x: number; readonly text: string }[] {
  return picture.stages.flatMap(({ label, from, to }) => {
    const [left, right] = [edges[from + 1] ?? 0, edges[to + 2] ?? 0];
    const room = Math.floor((right - left - 4) / LETTER);
    const letters = [...label];
    if (room < READABLE_SHARE * letters.length || letters.length === 0) return [];
    const text = letters.length > room ? `${letters.slice(0, room - 1).join("")}…` : label;
    return [{ x: round(left), text }];
  });
}

/** Folded blocks, what each is, and as much of that as stands beside the label before it. */
export function blockLabels({ blocks }: PictureLayout): readonly {
  readonly placed: PlacedBlock;
  readonly whole: string;
  readonly text: string;
  readonly x: number;
}[] {
  let free = 0;
  return blocks
    .filter(({ folded }) => folded)
    .map((placed) => {
      const { block, left, right } = placed;
      const middle = (left + right) / 2;
      const times = block.repeats > 1 ? `${block.repeats} × ` : "";
      const held = `${block.skips} ${block.skips === 1 ? "skip" : "skips"}`;
      const whole = `${times}${block.label}, ${held}`;
      const texts = [
        whole,
        `${times.trimEnd()}${times === "" ? "" : ", "}${held}`,
        times.trimEnd(),
      ];
      const half = (text: string): number => ([...text].length * LETTER) / 2;
      const text = texts.find((one) => one !== "" && middle - half(one) > free) ?? "";
      if (text !== "") free = middle + half(text) + 6;
      return { placed, whole, text, x: round(middle) };
    });
}
