// What brings the operands of a merge together, as data: lint says it, and a pass can do it.

import { type Dim, formatShape, type Shape, sameDim } from "../graph/shape.ts";
import type { Layout } from "./ways.ts";

/** One of the two operands, by its place. */
type Side = 0 | 1;

/** A size along an axis that is too large by so much. */
export interface Excess {
  readonly axis: number;
  readonly by: number;
  readonly side: Side;
}

/** What to do to one operand, or what is wrong where nothing simple helps. */
export type MergeRepair =
  | { readonly kind: "batch" }
  | { readonly kind: "resize" }
  | { readonly kind: "reshape"; readonly ranks: readonly [number, number] }
  /** Give the Concat another axis. */
  | { readonly kind: "axis"; readonly axis: number }
  | { readonly kind: "transpose"; readonly side: Side; readonly perm: readonly number[] }
  | { readonly kind: "unsqueeze"; readonly side: Side; readonly axes: readonly number[] }
  /** All axes from the second on become one. */
  | { readonly kind: "flatten"; readonly side: Side; readonly shape: Shape }
  /** Pictures `[N,C,H,W]` become tokens `[N,H·W,C]`. */
  | { readonly kind: "tokens"; readonly side: Side; readonly shape: Shape }
  /** A MatMul over the last axis. */
  | { readonly kind: "dense"; readonly side: Side; readonly from: Dim; readonly to: Dim }
  /** A 1x1 convolution; what its strides leave over is cropped. */
  | {
      readonly kind: "project";
      readonly side: Side;
      readonly from: Dim;
      readonly to: Dim;
      readonly strides: readonly number[];
      readonly excess: readonly Excess[];
    }
  | { readonly kind: "pool"; readonly side: Side; readonly strides: readonly number[] }
  /** Sizes that differ by one, after odd sizes were halved. */
  | { readonly kind: "odd"; readonly excess: readonly Excess[] }
  | { readonly kind: "crop"; readonly excess: readonly Excess[] }
  /** Sequences of different lengths. */
  | { readonly kind: "lengths"; readonly axis: number; readonly sizes: readonly [Dim, Dim] };

/** What is known of a merge besides the shapes. */
export interface MergeFacts {
  /** Which operand is the shortcut. Default 0. */
  readonly shortcut?: Side;
  readonly layout?: Layout | undefined;
  /** Of a Concat: the axis whose dims need not agree. */
  readonly concatAxis?: number | undefined;
}

type Pair = readonly [Shape, Shape];

/** What brings two operands together whose shapes contradict. */
export function planRepair(pair: Pair, facts: MergeFacts = {}): MergeRepair {
  const [a, b] = pair;
  if (a.length !== b.length) return planRanks(pair, facts);
  const differing = a.flatMap((dim, axis) =>
    axis !== facts.concatAxis && contradicts(dim, b[axis]) ? [axis] : [],
  );
  const swapped = planSwapped(pair, facts);
  if (swapped !== undefined) return swapped;
  if (differing.includes(0) && a.length > 1) return { kind: "batch" };
  const channel = channelAxis(a.length, differing, facts.layout);
  const otherAxis = planAxis(pair, differing, { facts, channel });
  if (otherAxis !== undefined) return otherAxis;
  const space = a.flatMap((_, axis) => (axis > 0 && axis !== channel ? [axis] : []));
  const channelsDiffer = differing.includes(channel);
  const inSpace = differing.filter((axis) => axis !== channel);
  if (channel === a.length - 1) return planTokens(pair, { inSpace, channel, facts });
  return planPictures(pair, { space, inSpace, channelsDiffer, facts });
}

/** Whether two dims cannot be the same. */
export function contradicts(a: Dim | undefined, b: Dim | undefined): boolean {
  return typeof a === "number" && typeof b === "number" && a !== b;
}

/** Along which axis channels are: of sequences without a known layout, on the last if that alone differs. */
function channelAxis(rank: number, differing: readonly number[], layout?: Layout): number {
  if (rank <= 2 || layout === "channels-last") return rank - 1;
  const lastAlone = differing.length === 1 && differing[0] === rank - 1;
  return rank === 3 && layout === undefined && lastAlone ? rank - 1 : 1;
}

function planRanks(pair: Pair, { concatAxis }: MergeFacts): MergeRepair {
  const ranks = [pair[0].length, pair[1].length] as const;
  const small: Side = ranks[0] < ranks[1] ? 0 : 1;
  const large: Side = small === 0 ? 1 : 0;
  const [less, more] = [pair[small], pair[large]];
  const [batch = "?", ...rest] = more;
  const count = rest.every((dim) => typeof dim === "number")
    ? rest.reduce<number>((product, dim) => product * Number(dim), 1)
    : undefined;
  if (count !== undefined && less.length === 2 && sameDim(less[0] ?? "?", batch)) {
    if (concatAxis === 1 || less[1] === count)
      return { kind: "flatten", side: large, shape: [batch, count] };
  }
  const [, channels = "?", ...space] = more;
  const pixels = space.reduce<number>((product, dim) => product * Number(dim), 1);
  const tokens: Shape = [batch, pixels, channels];
  if (
    ranks[large] === 4 &&
    less.length === 3 &&
    less.every((dim, i) => sameDim(dim, tokens[i] ?? "?"))
  )
    return { kind: "tokens", side: large, shape: tokens };
  if (concatAxis === undefined) {
    const behind = more.length - less.length;
    for (let at = 0; at < behind && less.length > 0; at++) {
      if (!less.every((dim, i) => sameDim(dim, more[at + i] ?? "?"))) continue;
      const axes = Array.from({ length: behind - at }, (_, i) => less.length + i);
      return { kind: "unsqueeze", side: small, axes };
    }
  }
  return { kind: "reshape", ranks };
}

/** One operand has its channels on axis 1, the other on the last. */
function planSwapped(
  pair: Pair,
  { shortcut = 0, concatAxis }: MergeFacts,
): MergeRepair | undefined {
  const [moved, kept] = shortcut === 0 ? pair : [pair[1], pair[0]];
  const rank = moved.length;
  if (rank < 3) return undefined;
  const middle = Array.from({ length: rank - 2 }, (_, i) => i + 1);
  const perms = [
    [0, rank - 1, ...middle],
    [0, ...middle.map((axis) => axis + 1), 1],
  ];
  const agrees = (shape: Shape): boolean =>
    shape.every((dim, axis) => axis === concatAxis || sameDim(dim, kept[axis] ?? "?"));
  if (agrees(moved)) return undefined;
  const perm = perms.find((one) => agrees(one.map((axis) => moved[axis] ?? "?")));
  return perm === undefined ? undefined : { kind: "transpose", side: shortcut, perm };
}

/** A Concat whose operands agree but for another axis than its own. */
function planAxis(
  pair: Pair,
  differing: readonly number[],
  { facts, channel }: { facts: MergeFacts; channel: number },
): MergeRepair | undefined {
  const { concatAxis } = facts;
  const [axis, ...others] = differing;
  if (concatAxis === undefined || axis === undefined || others.length > 0) return undefined;
  if (contradicts(pair[0][concatAxis], pair[1][concatAxis])) return undefined;
  const joins = axis === channel || (pair[0].length === 3 && facts.layout !== "channels-first");
  return joins ? { kind: "axis", axis } : undefined;
}

function planTokens(
  [a, b]: Pair,
  { inSpace, channel, facts }: { inSpace: readonly number[]; channel: number; facts: MergeFacts },
): MergeRepair {
  const [axis] = inSpace;
  const { shortcut = 0 } = facts;
  if (axis !== undefined) return { kind: "lengths", axis, sizes: [a[axis] ?? "?", b[axis] ?? "?"] };
  const [from, to] = shortcut === 0 ? [a[channel], b[channel]] : [b[channel], a[channel]];
  return { kind: "dense", side: shortcut, from: from ?? "?", to: to ?? "?" };
}

interface PictureFacts {
  readonly space: readonly number[];
  readonly inSpace: readonly number[];
  readonly channelsDiffer: boolean;
  readonly facts: MergeFacts;
}

function planPictures(
  pair: Pair,
  { space, inSpace, channelsDiffer, facts }: PictureFacts,
): MergeRepair {
  const excess = inSpace.map((axis): Excess => {
    const [a, b] = [Number(pair[0][axis]), Number(pair[1][axis])];
    return { axis, by: Math.abs(a - b), side: a > b ? 0 : 1 };
  });
  const halved = excess.every(({ axis, by, side }) => by * 2 === Number(pair[side][axis]));
  if (excess.length > 0 && excess.every(({ by }) => by === 1) && !channelsDiffer && !halved) {
    return { kind: "odd", excess };
  }
  const side = excess[0]?.side ?? facts.shortcut ?? 0;
  if (excess.some((one) => one.side !== side)) return { kind: "resize" };
  const other = side === 0 ? 1 : 0;
  const steps = space.map((axis) => stepBetween(pair[side][axis], pair[other][axis]));
  const left = space.flatMap((axis, i): Excess[] => {
    const size = Math.ceil(Number(pair[side][axis]) / (steps[i] ?? 1));
    const by = inSpace.includes(axis) ? size - Number(pair[other][axis]) : 0;
    return by === 0 ? [] : [{ axis, by, side }];
  });
  const strided = steps.some((step) => step > 1);
  if (left.some(({ axis, by }) => by < 0 || by > (strided ? 1 : Number(pair[other][axis]) - 1)))
    return { kind: "resize" };
  const channels = { from: pair[side][1] ?? "?", to: pair[other][1] ?? "?" };
  if (!strided && !channelsDiffer) return { kind: "crop", excess: left };
  if (!channelsDiffer && facts.concatAxis !== undefined) {
    return left.length > 0 ? { kind: "resize" } : { kind: "pool", side, strides: steps };
  }
  return { kind: "project", side, ...channels, strides: steps, excess: left };
}

function stepBetween(large: Dim | undefined, small: Dim | undefined): number {
  return typeof large === "number" && typeof small === "number" && small > 0
    ? Math.max(1, Math.round(large / small))
    : 1;
}

/** What else the words of a repair need. */
export interface RepairWords {
  /** The reduction on the way: sizes that it divides need no padding. */
  readonly multiple?: number;
  /** What the operands are called. */
  readonly names?: readonly [string, string];
}

/** The repair in one sentence. */
export function repairText(repair: MergeRepair, { multiple = 1, names }: RepairWords = {}): string {
  const named = (side: Side): string =>
    names === undefined ? `the ${side === 0 ? "first" : "second"} operand` : `"${names[side]}"`;
  switch (repair.kind) {
    case "batch":
      return "Give both the same batch: their first axes differ.";
    case "resize":
      return "Resize one operand to the size of the other before they are joined.";
    case "reshape":
      return `Reshape one of them: they have ${repair.ranks[0]} and ${repair.ranks[1]} axes.`;
    case "axis":
      return `Join them along axis ${repair.axis}, where alone they differ.`;
    case "transpose":
      return `Transpose ${named(repair.side)} with perm [${repair.perm}]: its channels are on another axis than the other's.`;
    case "unsqueeze":
      return `Unsqueeze ${named(repair.side)} at ${axesText(repair.axes)}, so that its axes lie over those of the other.`;
    case "flatten":
      return `Flatten ${named(repair.side)} to ${formatShape(repair.shape)}.`;
    case "tokens":
      return `Make ${named(repair.side)} a sequence of tokens ${formatShape(repair.shape)}: a Reshape and a Transpose.`;
    case "dense":
      return `Add a dense layer (MatMul) ${repair.from}→${repair.to} on the shortcut.`;
    case "project":
      return projectionText(repair);
    case "pool":
      return `Pool the larger operand ${stridesText(repair.strides)} before it is joined.`;
    case "odd": {
      const sizes = multiple > 1 ? `use multiples of ${multiple}` : "use sizes that halve evenly";
      return `Odd input: pad or crop 1 on ${axesText(repair.excess.map(({ axis }) => axis))}, or ${sizes}.`;
    }
    case "crop":
      return `Crop ${cropText(repair.excess)} from ${named(repair.excess[0]?.side ?? 0)}, or pad the convolutions of the other.`;
    case "lengths":
      return `Bring both to one length on axis ${repair.axis}: they have ${repair.sizes[0]} and ${repair.sizes[1]}.`;
  }
}

function projectionText(repair: Extract<MergeRepair, { kind: "project" }>): string {
  const { strides, from, to, excess } = repair;
  const kernel = strides.length === 1 ? "pointwise" : strides.map(() => "1").join("x");
  const stride = strides.some((step) => step > 1) ? ` ${stridesText(strides)}` : "";
  const crop = excess.length > 0 ? ` and crop ${cropText(excess)}` : "";
  return `Add a ${kernel} projection ${from}→${to}${stride} on the shortcut${crop}.`;
}

function stridesText(strides: readonly number[]): string {
  const [first] = strides;
  const even = strides.every((step) => step === first);
  return even ? `with stride ${first}` : `with strides [${strides}]`;
}

function cropText(excess: readonly Excess[]): string {
  const [first] = excess;
  const even = excess.every(({ by }) => by === first?.by);
  if (even) return `${first?.by} on ${axesText(excess.map(({ axis }) => axis))}`;
  return excess.map(({ axis, by }) => `${by} on axis ${axis}`).join(" and ");
}

function axesText(axes: readonly number[]): string {
  return `${axes.length === 1 ? "axis" : "axes"} ${axes.join(" and ")}`;
}
