// Which stretches of the main path a picture can fold: what a skip spans is a block, equal blocks in a row are
// a run. Found from the skips and the ops alone; names only label what was found.

import type { PictureNode, PictureSkip } from "./picture.ts";

/** A stretch of the main path that can be folded: a block, or several equal ones in a row. */
export interface PictureBlock {
  readonly id: string;
  readonly label: string;
  /** First and last node. */
  readonly from: number;
  readonly to: number;
  /** Equal blocks inside, 1 for a block itself. */
  readonly repeats: number;
  /** Skips that arrive inside. */
  readonly skips: number;
}

/** A stretch whose nodes share the beginning of their names. */
export interface PictureStage {
  readonly label: string;
  readonly from: number;
  readonly to: number;
}

interface Stretch {
  readonly from: number;
  readonly to: number;
}

/** A block of a transformer is attention and MLP; longer patterns are rare. */
const PERIOD_MAX = 4;
/** Two equal patterns may be chance: a stage of ResNet begins with a projection as the next does. */
const PATTERN_REPEATS_MIN = 3;
/** Nodes after a block that still belong to it: the activation after a sum, a dropout. */
const TAIL_MAX = 4;
/** A skip over so much of the network makes no block. */
const LONG_SHARE = 0.5;
const LABEL_MAX = 40;
const STAGES_MAX = 30;
/** A stage that takes more of the network than this is told apart further. */
const STAGE_SHARE = 0.25;

/** Blocks and runs of blocks in file order, a run before its blocks. O(nodes + skips · log skips). */
export function blocksOf(
  nodes: readonly PictureNode[],
  skips: readonly PictureSkip[],
): PictureBlock[] {
  const spanned = unitsOf(nodes.length, skips);
  const units = withTails(nodes, spanned);
  const chain = { signatures: signaturesOf(nodes, spanned), joined: joinedTo(units) };
  const arrivals = new Uint32Array(nodes.length + 1);
  for (const { to } of skips) arrivals[to + 1] = (arrivals[to + 1] ?? 0) + 1;
  for (let i = 1; i < arrivals.length; i++)
    arrivals[i] = (arrivals[i] ?? 0) + (arrivals[i - 1] ?? 0);
  const found: PictureBlock[] = [];
  const add = (from: number, to: number, rest: { repeats: number; label: string }): void => {
    const inside = (arrivals[to + 1] ?? 0) - (arrivals[from] ?? 0);
    found.push({ id: `b${found.length + 1}`, from, to, skips: inside, ...rest });
  };
  for (let at = 0; at < units.length; ) {
    const { period, repeats, lead } = inPhase(nodes, units, { at, ...runAt(chain, at) });
    for (const unit of units.slice(at, at + lead)) {
      add(unit.from, unit.to, { repeats: 1, label: blockLabel(nodes, unit) });
    }
    at += lead;
    const blocks = Array.from({ length: repeats }, (_, i): Stretch => {
      const first = units[at + i * period];
      const last = units[at + (i + 1) * period - 1];
      return { from: first?.from ?? 0, to: last?.to ?? 0 };
    });
    const [from, to] = [blocks[0]?.from ?? 0, blocks.at(-1)?.to ?? 0];
    if (repeats > 1) add(from, to, { repeats, label: runLabel(nodes, blocks) });
    for (const block of blocks) {
      add(block.from, block.to, { repeats: 1, label: blockLabel(nodes, block) });
    }
    at += period * repeats;
  }
  return found;
}

/** What skips span; where they overlap, together. */
function unitsOf(count: number, skips: readonly PictureSkip[]): Stretch[] {
  const spans = skips
    .filter(({ from, to, encoderDecoder }) => !encoderDecoder && to - from <= LONG_SHARE * count)
    .map(({ from, to }) => ({ from: Math.min(from + 1, to), to }))
    .toSorted((a, b) => a.from - b.from);
  const units: Stretch[] = [];
  for (const span of spans) {
    const last = units.at(-1);
    if (last === undefined || span.from > last.to) units.push(span);
    else units[units.length - 1] = { from: last.from, to: Math.max(last.to, span.to) };
  }
  return units;
}

/** The few nodes between a unit and the next belong to the first, unless they transform the signal. */
function withTails(nodes: readonly PictureNode[], units: readonly Stretch[]): Stretch[] {
  return units.map((unit, i) => {
    const next = units[i + 1]?.from ?? Number.POSITIVE_INFINITY;
    if (next - 1 - unit.to > TAIL_MAX) return unit;
    const tail = nodes.slice(unit.to + 1, next);
    return tail.some(({ role }) => role === "transform") ? unit : { from: unit.from, to: next - 1 };
  });
}

/** Whether each unit begins where the one before it ends. */
function joinedTo(units: readonly Stretch[]): boolean[] {
  return units.map(({ from }, i) => from === (units[i - 1]?.to ?? Number.NaN) + 1);
}

/** Equal numbers for units that are made of the same ops in the same order. */
function signaturesOf(nodes: readonly PictureNode[], units: readonly Stretch[]): number[] {
  const numbers = new Map<string, number>();
  return units.map(({ from, to }) => {
    const key = nodes
      .slice(from, to + 1)
      .map((node) => node.op)
      .join(" ");
    const number = numbers.get(key) ?? numbers.size;
    numbers.set(key, number);
    return number;
  });
}

interface Run {
  readonly period: number;
  readonly repeats: number;
}

/** The longest run of equal patterns that begins here; of equally long ones that of the shortest pattern. */
function runAt(
  { signatures, joined }: { signatures: readonly number[]; joined: readonly boolean[] },
  at: number,
): Run {
  let best: Run = { period: 1, repeats: 1 };
  for (let period = 1; period <= PERIOD_MAX; period++) {
    let end = at + 1;
    while (joined[end] === true && (end < at + period || repeated(signatures, end, period))) end++;
    const repeats = Math.floor((end - at) / period);
    const enough = repeats >= (period === 1 ? 2 : PATTERN_REPEATS_MIN);
    if (enough && repeats * period > best.repeats * best.period) best = { period, repeats };
  }
  return best;
}

function repeated(signatures: readonly number[], at: number, period: number): boolean {
  return signatures[at] === signatures[at - period];
}

/** A run of a pattern begins with the unit with which its blocks have names in common, up to `lead` units later. */
function inPhase(
  nodes: readonly PictureNode[],
  units: readonly Stretch[],
  { at, period, repeats }: Run & { at: number },
): Run & { lead: number } {
  if (period === 1) return { period, repeats, lead: 0 };
  let [lead, most] = [0, -1];
  for (let shift = 0; shift < period; shift++) {
    const from = units[at + shift]?.from ?? 0;
    const to = units[at + shift + period - 1]?.to ?? from;
    const shared = commonPath(nodes, { from, to }).length;
    if (shared > most) [lead, most] = [shift, shared];
  }
  return { period, repeats: lead === 0 ? repeats : repeats - 1, lead };
}

/** `stage.block1.conv` of our networks, `/stage/block.1/Conv` of exported ones. */
function pathOf(name: string): readonly string[] {
  return name.split(name.includes("/") ? "/" : ".").filter((part) => part !== "");
}

function commonPath(nodes: readonly PictureNode[], { from, to }: Stretch): readonly string[] {
  let shared: readonly string[] = pathOf(nodes[from]?.name ?? "").slice(0, -1);
  for (let i = from + 1; i <= to && shared.length > 0; i++) {
    const path = pathOf(nodes[i]?.name ?? "");
    const differs = shared.findIndex((part, k) => part !== path[k]);
    if (differs >= 0) shared = shared.slice(0, differs);
  }
  return shared;
}

function blockLabel(nodes: readonly PictureNode[], block: Stretch): string {
  const path = commonPath(nodes, block);
  return shorten(path.length > 0 ? path.slice(-2).join(".") : opsLabel(nodes, block));
}

function runLabel(nodes: readonly PictureNode[], blocks: readonly Stretch[]): string {
  const [first, last] = [blocks[0], blocks.at(-1)];
  if (first === undefined || last === undefined) return "";
  const [a, b] = [commonPath(nodes, first), commonPath(nodes, last)];
  if (a.length === 0 || b.length === 0 || a.join() === b.join()) return blockLabel(nodes, first);
  const differs = a.findIndex((part, k) => part !== b[k]);
  return shorten(`${a.slice(-2).join(".")} – ${b.slice(Math.max(0, differs)).join(".")}`);
}

/** The ops of a block whose nodes have names without order. */
function opsLabel(nodes: readonly PictureNode[], { from, to }: Stretch): string {
  const ops = new Set(nodes.slice(from, to + 1).map((node) => node.op));
  return [...ops].slice(0, 3).join(", ") + (ops.size > 3 ? ", …" : "");
}

function shorten(text: string): string {
  const letters = [...text];
  return letters.length > LABEL_MAX ? `${letters.slice(0, LABEL_MAX - 1).join("")}…` : text;
}

/** Stages by the beginnings of names; none where names tell nothing. */
export function stagesOf(nodes: readonly PictureNode[]): PictureStage[] {
  const paths = nodes.map((node) => pathOf(node.name).slice(0, -1));
  let stages = splitAt(paths, { from: 0, to: nodes.length - 1 }, 0);
  for (let depth = 1; depth <= 8; depth++) {
    const next = stages.flatMap((stage) => {
      const large = stage.to - stage.from + 1 > STAGE_SHARE * nodes.length;
      const parts = large ? splitAt(paths, stage, depth) : [stage];
      return parts.length > STAGES_MAX / 3 ? [stage] : parts;
    });
    if (next.length > STAGES_MAX) break;
    stages = next;
  }
  return stages.length > 1 && stages.length <= STAGES_MAX ? stages : [];
}

/** Runs of nodes of a stretch that agree in one part of their paths. */
function splitAt(
  paths: readonly (readonly string[])[],
  { from, to }: Stretch,
  depth: number,
): PictureStage[] {
  const parts: PictureStage[] = [];
  for (let i = from; i <= to; i++) {
    const label = shorten(paths[i]?.[depth] ?? paths[i]?.at(-1) ?? "");
    const last = parts.at(-1);
    if (last?.label === label) parts[parts.length - 1] = { ...last, to: i };
    else parts.push({ label, from: i, to: i });
  }
  return parts;
}
