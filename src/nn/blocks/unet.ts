// One level of an encoder and its decoder: what the encoder saw at this resolution skips everything below
// and joins what the decoder makes of it.

import { int, type ValueName } from "../../graph/graph.ts";
import { isStatic, type Shape } from "../../graph/shape.ts";
import { int64 } from "../../graph/tensor.ts";
import { type Layer, layer, named } from "../layer.ts";
import { conv } from "../layers/index.ts";
import type { Net } from "../net.ts";
import { differ } from "./merge.ts";

/** The parts of a level, in the order in which data passes them, and how its skip joins. */
export interface LevelOptions {
  /** `[N, C, H, W]` → `[N, E, H', W']`: the skip begins behind it. Default: nothing. */
  readonly encode?: Layer;
  /** To a lower resolution, such as `maxPool(2)`. */
  readonly down: Layer;
  /** Back to the resolution of this level, such as `convTranspose(E, 2, { stride: 2 })`. */
  readonly up: Layer;
  /** Behind the merge. Default: nothing. */
  readonly decode?: Layer;
  /** `concat` puts the skip in front along axis 1; `add` wants equal channels. Default `concat`. */
  readonly merge?: "concat" | "add";
  /**
   * What happens where skip and decoder differ in height or width: `crop` cuts the middle out of the
   * skip (Ronneberger et al. 2015, section 2), `pad` puts zeros around the decoder's side, so that the
   * output is as large as the input whatever its size. `exact` takes equal sizes alone. Default `pad`.
   */
  readonly fit?: "crop" | "pad" | "exact";
  /** Puts an attention gate with so many inner channels on the skip. Default: none. */
  readonly attention?: number;
}

/**
 * A level of a U-Net (Ronneberger et al. 2015, 1505.04597, figure 1) around all levels below it:
 * `decode(merge(encode(x), up(inner(down(encode(x))))))`. Levels stand inside each other; the innermost
 * `inner` is the bottom.
 *
 * @example
 * const bottom = nn.conv(32, 3);
 * nn.unetLevel(bottom, { encode: nn.conv(16, 3), down: nn.maxPool(2), up: nn.convTranspose(16, 2, { stride: 2 }) })
 */
export function unetLevel(inner: Layer, options: LevelOptions): Layer {
  const { encode, decode, merge = "concat", fit = "pad", attention } = options;
  return layer("level", (net, x) => {
    const seen = encode === undefined ? x : net.inside(named("encode", encode), x);
    const below = net.inside(inner, net.inside(named("down", options.down), seen));
    const raised = net.inside(named("up", options.up), below);
    const [skip, main] = fitted(net, { skip: seen, main: raised, fit });
    const gated = attention === undefined ? skip : net.inside(attentionGate(main, attention), skip);
    const joined = merge === "add" ? sum(net, gated, main) : concat(net, gated, main);
    return decode === undefined ? joined : net.inside(named("decode", decode), joined);
  });
}

/**
 * Additive attention gate (Oktay et al. 2018, 1804.03999, equations 1 and 2): `α·x` with
 * `α = sigmoid(ψ(relu(W_x·x + W_g·g + b)))`, one number a pixel, all maps 1x1 convolutions. `signal` (g)
 * is `[N, G, H, W]` at the resolution of `x`: the paper's comes from one level below and is brought up at
 * the end, here `up` has done that before.
 */
export function attentionGate(signal: ValueName, channels: number): Layer {
  return layer("attention", (net, x) => {
    const seen = net.inside(named("skip", conv(channels, 1, { bias: false })), x);
    const asked = net.inside(named("signal", conv(channels, 1)), signal);
    const both = net.emit("Relu", [net.emit("Add", [seen, asked])]);
    const weight = net.emit("Sigmoid", [net.inside(named("psi", conv(1, 1)), both)]);
    return net.emit("Mul", [x, weight], { name: "weighed" });
  });
}

function sum(net: Net, skip: ValueName, main: ValueName): ValueName {
  const [a, b] = [net.channels(skip), net.channels(main)];
  if (a !== b) {
    const text = `the skip carries ${a} channels, the decoder makes ${b}`;
    net.fail("shape/mismatch", text, `Let \`up\` make ${a} channels, or merge by "concat".`);
  }
  return net.emit("Add", [skip, main], { name: "merge" });
}

function concat(net: Net, skip: ValueName, main: ValueName): ValueName {
  return net.emit("Concat", [skip, main], { name: "merge", attributes: { axis: int(1) } });
}

/** Skip and decoder's side with equal height and width. */
function fitted(
  net: Net,
  level: { skip: ValueName; main: ValueName; fit: "crop" | "pad" | "exact" },
): readonly [ValueName, ValueName] {
  const { skip, main, fit } = level;
  const [a, b] = [net.shape(skip).slice(2), net.shape(main).slice(2)];
  const known = isStatic(a) && isStatic(b);
  if (known && !differ(a, b)) return [skip, main];
  if (fit === "exact") {
    if (!known) return [skip, main];
    const text = `the skip is ${a.join("x")} pixels large, the decoder's side ${b.join("x")}`;
    net.fail("shape/mismatch", text, 'Use fit "pad" or "crop", or sizes that halve evenly.');
  }
  if (known) mustContain(net, a, b);
  return fit === "crop" ? [cropped(net, skip, main), main] : [skip, padded(net, skip, main)];
}

function mustContain(net: Net, skip: Shape, main: Shape): void {
  if (skip.every((size, i) => Number(size) >= Number(main[i]))) return;
  const text = `the decoder's side is ${main.join("x")} pixels large, the skip only ${skip.join("x")}`;
  net.fail("shape/mismatch", text, "Let `up` enlarge as much as `down` shrinks, not more.");
}

/** The middle of the skip, as large as the decoder's side. */
function cropped(net: Net, skip: ValueName, main: ValueName): ValueName {
  const axes = net.constant(int64([2], [2, 3]));
  const known = marginsBetween(net, skip, main);
  if (known !== undefined) {
    const starts = known.before;
    const ends = starts.map((start, i) => start + (known.inner[i] ?? 0));
    const bounds = [starts, ends].map((list) => net.constant(int64([2], list)));
    return net.emit("Slice", [skip, ...bounds, axes], { name: "crop" });
  }
  const size = sizeOf(net, main);
  const less = net.emit("Sub", [sizeOf(net, skip), size], { name: "less" });
  const start = net.emit("Div", [less, net.constant(int64([1], [2]))], { name: "start" });
  const end = net.emit("Add", [start, size], { name: "end" });
  return net.emit("Slice", [skip, start, end, axes], { name: "crop" });
}

/** The decoder's side with zeros around it, as large as the skip. */
function padded(net: Net, skip: ValueName, main: ValueName): ValueName {
  const axes = net.constant(int64([2], [2, 3]));
  const known = marginsBetween(net, skip, main);
  if (known !== undefined) {
    const pads = net.constant(int64([4], [...known.before, ...known.after]));
    return net.emit("Pad", [main, pads, "", axes], { name: "pad" });
  }
  const less = net.emit("Sub", [sizeOf(net, skip), sizeOf(net, main)], { name: "less" });
  const before = net.emit("Div", [less, net.constant(int64([1], [2]))], { name: "before" });
  const after = net.emit("Sub", [less, before], { name: "after" });
  const pads = net.emit("Concat", [before, after], { name: "pads", attributes: { axis: int(0) } });
  return net.emit("Pad", [main, pads, "", axes], { name: "pad" });
}

/** By how much the skip is larger, above and below, left and right, where sizes are numbers. */
function marginsBetween(
  net: Net,
  skip: ValueName,
  main: ValueName,
): { inner: readonly number[]; before: number[]; after: number[] } | undefined {
  const outer: Shape = net.shape(skip).slice(2);
  const inner: Shape = net.shape(main).slice(2);
  if (!isStatic(outer) || !isStatic(inner)) return undefined;
  const less = outer.map((size, i) => size - (inner[i] ?? 0));
  const halves = (round: (half: number) => number): number[] => less.map((one) => round(one / 2));
  return { inner, before: halves(Math.floor), after: halves(Math.ceil) };
}

/** Height and width while the network runs. */
function sizeOf(net: Net, x: ValueName): ValueName {
  return net.emit("Shape", [x], { name: "size", attributes: { start: int(2) } });
}
