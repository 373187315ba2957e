// The gradient of a blocked convolution in its input (Dumoulin and Visin 2016, chapter 4). At stride 1 a
// convolution with the weights turned; at stride s one smaller convolution for each phase of the pixels, and
// the phases put between each other.

import { int, intsAttribute, type Node, type ValueName } from "../../graph/graph.ts";
import { isDepthwise } from "../../ops/blocked.ts";
import { input, optional, output, type Views } from "./views.ts";

/** One convolution whose gradient is summed into the result. */
interface Term {
  readonly dy: ValueName;
  readonly w: ValueName;
  readonly scale: ValueName | undefined;
  readonly kernel: readonly number[];
  readonly pads: readonly number[];
  readonly depthwise: boolean;
}

/** InputGradient. */
export function inputGradient(v: Views, node: Node): void {
  const kernels = intsAttribute(node, "kernel_shape") ?? [];
  const pads = intsAttribute(node, "pads") ?? [];
  const terms = Array.from({ length: kernels.length / 2 }, (_, i): Term => {
    return {
      dy: input(node, 3 * i + 1),
      w: input(node, 3 * i + 2),
      scale: optional(node, 3 * i + 3),
      kernel: kernels.slice(2 * i, 2 * i + 2),
      pads: pads.length === 0 ? [0, 0, 0, 0] : pads.slice(4 * i, 4 * i + 4),
      depthwise: isDepthwise(node),
    };
  });
  const [stride = 1] = intsAttribute(node, "strides") ?? [1];
  if (stride === 1) atStrideOne(v, node, terms);
  else strided(v, node, terms, stride);
}

function atStrideOne(v: Views, node: Node, terms: readonly Term[]): void {
  let sum = optional(node, 0);
  for (const [i, term] of terms.entries()) {
    const { kernel, pads } = term;
    const [high = 1, wide = 1] = kernel;
    const full = [high - 1, wide - 1, high - 1, wide - 1];
    const taps = Array.from({ length: high * wide }, (_, tap) => high * wide - 1 - tap);
    sum = v.conv({
      x: term.dy,
      w: turned(v, term, taps, [high, wide]),
      sum,
      kernel,
      group: groupOf(v, term),
      pads: full.map((reach, side) => reach - (pads[side] ?? 0)),
      output: i === terms.length - 1 ? output(node) : undefined,
    });
  }
}

function groupOf(v: Views, { w, depthwise }: Term): number | undefined {
  return depthwise ? v.shape(w)[0] : undefined;
}

/** Weights [C/B, taps, B] with `scale` over channels, and some of the taps. */
function chosenTaps(
  v: Views,
  { w, scale }: Term,
  taps: readonly number[],
  kernel: readonly number[],
): ValueName {
  const [channels = 0, , height = 0, width = 0] = v.shape(w);
  const blocks = channels / v.block;
  const all = v.view(w, [blocks, height * width, v.block]);
  const scaled = v.once(`scaled ${w} ${scale ?? ""}`, () =>
    scale === undefined ? all : v.emit("Mul", [all, v.view(scale, [blocks, 1, v.block])]),
  );
  const chosen = v.emit("Gather", [scaled, v.integers(taps)], undefined, {
    attributes: { axis: int(1) },
  });
  return v.view(chosen, [channels, 1, ...kernel]);
}

/** Weights with inputs and outputs exchanged, `scale` over the outputs, and some of the taps. */
function turned(
  v: Views,
  term: Term,
  taps: readonly number[],
  kernel: readonly number[],
): ValueName {
  if (term.depthwise) return chosenTaps(v, term, taps, kernel);
  const { w, scale } = term;
  const [outputs = 0, inputs = 0, height = 0, width = 0] = v.shape(w);
  const [o, i, all] = [outputs / v.block, inputs / v.block, height * width];
  const swapped = v.once(`turned ${w} ${scale ?? ""}`, () => {
    const scaled =
      scale === undefined
        ? w
        : v.emit("Mul", [
            v.view(w, [o, i * all * v.block, v.block]),
            v.view(scale, [o, 1, v.block]),
          ]);
    return v.transpose(v.view(scaled, [o, i, all, v.block, v.block]), [1, 0, 2, 4, 3]);
  });
  const same = taps.length === all && taps.every((tap, at) => tap === at);
  const chosen = same
    ? swapped
    : v.emit("Gather", [swapped, v.integers(taps)], undefined, { attributes: { axis: int(2) } });
  return v.view(chosen, [inputs, outputs, ...kernel]);
}

/** Which taps of a kernel meet one phase of the pixels, in the order of the pixels of dy that they meet. */
interface Phase {
  readonly taps: readonly number[];
  readonly before: number;
  readonly after: number;
}

/** dx[s·v + phase] = Σ over taps t ≡ phase + pad (mod s) of w[t]·dy[v + (phase + pad - t)/s]. */
function phaseOf(phase: number, kernel: number, pad: number, stride: number): Phase {
  const taps = Array.from({ length: kernel }, (_, t) => t)
    .filter((t) => (phase + pad - t) % stride === 0)
    .reverse();
  const offset = (t: number): number => (phase + pad - t) / stride;
  return { taps, before: -offset(taps[0] ?? 0), after: offset(taps.at(-1) ?? 0) };
}

function strided(v: Views, node: Node, terms: readonly Term[], stride: number): void {
  const result = v.image(output(node));
  const [high, wide] = [result.height / stride, result.width / stride];
  const phases = Array.from({ length: stride }, (_, phase) => phase);
  const rows = phases.map((row) => {
    const parts = phases.map((column) => {
      const made = phaseSum(v, terms, { row, column, stride });
      return made ?? v.zeros([result.batch, result.channels, high, wide]);
    });
    const pieces = parts.map((part) =>
      v.view(part, [result.batch * result.blocks * high * wide, v.block]),
    );
    const joined = v.emit("Concat", pieces, undefined, { attributes: { axis: int(1) } });
    return v.view(joined, [result.batch * result.blocks * high, result.width * v.block]);
  });
  const all = v.emit("Concat", rows, undefined, { attributes: { axis: int(1) } });
  const sum = optional(node, 0);
  const { batch, channels, height, width } = result;
  const dx = v.view(
    all,
    [batch, channels, height, width],
    sum === undefined ? output(node) : undefined,
  );
  if (sum !== undefined) v.emit("Add", [dx, sum], output(node));
}

/** What the convolutions give for one phase; undefined where no tap of any meets it. */
function phaseSum(
  v: Views,
  terms: readonly Term[],
  { row, column, stride }: { row: number; column: number; stride: number },
): ValueName | undefined {
  let sum: ValueName | undefined;
  for (const term of terms) {
    const [high = 1, wide = 1] = term.kernel;
    const [top = 0, left = 0] = term.pads;
    const down = phaseOf(row, high, top, stride);
    const across = phaseOf(column, wide, left, stride);
    const taps = down.taps.flatMap((r) => across.taps.map((c) => r * wide + c));
    if (taps.length === 0) continue;
    const kernel = [down.taps.length, across.taps.length];
    sum = v.conv({
      x: term.dy,
      w: turned(v, term, taps, kernel),
      sum,
      kernel,
      group: groupOf(v, term),
      pads: [down.before, across.before, down.after, across.after],
    });
  }
  return sum;
}
