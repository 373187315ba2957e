// Normalisation written out: LayerNorm (Ba et al. 2016), RMSNorm (Zhang and Sennrich 2019), and norms over
// the pixels of each channel, as they come from exporters that have no op for them.

import { float, int, type Node, type ValueName } from "../../graph/graph.ts";
import { isStatic } from "../../graph/shape.ts";
import { meanOf, type Reduction } from "./mean.ts";
import { type Affine, parameter, perChannel } from "./parameter.ts";
import type { Idiom, Match, View } from "./view.ts";

/** u / √(mean(u²) + ε), with u = x or u = x - mean(x). */
interface Normalized {
  readonly x: ValueName;
  readonly centred: boolean;
  readonly axes: readonly number[];
  readonly epsilon: number;
  readonly nodes: readonly Node[];
}

/** LayerNorm, InstanceNorm or RMSNorm, with gain and offset or without. */
export const layerNorm: Idiom = {
  name: "LayerNorm and RMSNorm",
  roots: ["Add", "Mul", "Div", "Cast"],
  *match(view, root): Generator<Match> {
    if (root.op === "Add") {
      for (const [scaled, offset] of view.operands(root)) {
        if (view.constant(offset) === undefined) continue;
        for (const { norm, gain } of gained(view, scaled)) {
          yield* layerMatch(view, root, norm, { gain, offset });
        }
        const norm = widened(view, scaled);
        if (norm !== undefined) yield* layerMatch(view, root, norm, { offset });
      }
      yield* byMoments(view, root);
      return;
    }
    const [output = ""] = root.outputs;
    for (const { norm, gain } of gained(view, output))
      yield* layerMatch(view, root, norm, { gain });
    const norm = widened(view, output);
    if (norm !== undefined) yield* layerMatch(view, root, norm, {});
  },
};

/** A constant times a normalized value. */
function* gained(view: View, name: ValueName): Generator<{ norm: Normalized; gain: ValueName }> {
  const node = view.made(name, "Mul");
  if (node === undefined) return;
  for (const [value, gain] of view.operands(node)) {
    if (view.constant(gain) === undefined) continue;
    const norm = widened(view, value);
    if (norm !== undefined) yield { norm: { ...norm, nodes: [...norm.nodes, node] }, gain };
  }
}

/**
 * A normalized value, also where it is computed in float32 between two casts: the ops do so themselves
 * (LayerNormalization-17 and RMSNormalization-23, `stash_type`).
 */
function widened(view: View, name: ValueName): Normalized | undefined {
  const cast = view.made(name, "Cast");
  if (cast === undefined) return normalized(view, name);
  const norm = normalized(view, cast.inputs[0] ?? "");
  const before = norm && view.made(norm.x, "Cast");
  if (norm === undefined || before === undefined) return undefined;
  const [x = ""] = before.inputs;
  const [narrow, wide] = [view.dtype(x), view.dtype(norm.x)];
  if (narrow === undefined || wide !== "float32" || narrow !== view.dtype(name)) return undefined;
  return { ...norm, x, nodes: [...norm.nodes, cast, before] };
}

function normalized(view: View, name: ValueName): Normalized | undefined {
  const node = view.made(name, "Div", "Mul");
  if (node === undefined) return undefined;
  for (const [u, other] of view.operands(node)) {
    if (node.op === "Div" && u !== node.inputs[0]) continue;
    const root = node.op === "Div" ? rootOf(view, other) : inverseRootOf(view, other);
    const sum = root && view.made(root.of, "Add");
    if (root === undefined || sum === undefined) continue;
    const nodes = [node, ...root.nodes, sum];
    for (const [variance, epsilon] of view.operands(sum)) {
      const small = view.scalar(epsilon);
      if (small === undefined || small < 0) continue;
      const found = meanOfSquare(view, u, variance);
      if (found !== undefined) {
        return { ...found, epsilon: small, nodes: [...nodes, ...found.nodes] };
      }
    }
  }
  return undefined;
}

interface Root {
  readonly of: ValueName;
  readonly nodes: readonly Node[];
}

function rootOf(view: View, name: ValueName): Root | undefined {
  const root = view.made(name, "Sqrt");
  if (root !== undefined) return { of: root.inputs[0] ?? "", nodes: [root] };
  return powerOf(view, name, 0.5);
}

function inverseRootOf(view: View, name: ValueName): Root | undefined {
  const power = powerOf(view, name, -0.5);
  if (power !== undefined) return power;
  const inverse = view.made(name, "Reciprocal", "Div");
  if (inverse === undefined) return undefined;
  if (inverse.op === "Div" && view.scalar(inverse.inputs[0] ?? "") !== 1) return undefined;
  const root = rootOf(view, inverse.inputs.at(-1) ?? "");
  return root && { of: root.of, nodes: [inverse, ...root.nodes] };
}

function powerOf(view: View, name: ValueName, exponent: number): Root | undefined {
  const power = view.made(name, "Pow");
  if (power === undefined || view.scalar(power.inputs[1] ?? "") !== exponent) return undefined;
  return { of: power.inputs[0] ?? "", nodes: [power] };
}

/** Whether a value is the mean of u², and what u is the difference of. */
function meanOfSquare(
  view: View,
  u: ValueName,
  name: ValueName,
): Omit<Normalized, "epsilon"> | undefined {
  const square = squaredMean(view, name);
  if (square === undefined) return undefined;
  const { axes, nodes: own } = square;
  const centre = centreOf(view, u);
  const same = square.of === u;
  if (centre !== undefined && sameAxes(centre.axes, axes)) {
    const other = same ? centre : centreOf(view, square.of);
    if (other?.x === centre.x && sameAxes(other.axes, axes)) {
      const nodes = [...own, ...centre.nodes, ...other.nodes];
      return { x: centre.x, centred: true, axes, nodes };
    }
  }
  return same ? { x: u, centred: false, axes, nodes: own } : undefined;
}

/** The value of which another is the mean square. */
function squaredMean(view: View, name: ValueName): Omit<Reduction, "node"> | undefined {
  const mean = meanOf(view, name);
  if (mean === undefined || mean.squared) return mean;
  const square = squareOf(view, mean.of);
  return square && { of: square.of, axes: mean.axes, nodes: [...mean.nodes, square.node] };
}

function squareOf(view: View, name: ValueName): { of: ValueName; node: Node } | undefined {
  const node = view.made(name, "Pow", "Mul");
  const [of = "", second = ""] = node?.inputs ?? [];
  if (node === undefined || of === "") return undefined;
  const isSquare = node.op === "Mul" ? second === of : view.scalar(second) === 2;
  return isSquare ? { of, node } : undefined;
}

/** x - mean(x). */
function centreOf(
  view: View,
  name: ValueName,
): { x: ValueName; axes: readonly number[]; nodes: readonly Node[] } | undefined {
  const node = view.made(name, "Sub");
  const [x = "", second = ""] = node?.inputs ?? [];
  const mean = meanOf(view, second);
  if (node === undefined || mean === undefined || mean.squared || mean.of !== x) return undefined;
  return { x, axes: mean.axes, nodes: [node, ...mean.nodes] };
}

function sameAxes(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((axis, i) => axis === b[i]);
}

/** The standard op of a normalized value and what is done with it. */
function* layerMatch(
  view: View,
  root: Node,
  norm: Normalized,
  { gain, offset }: Affine,
): Generator<Match> {
  const { x, axes, nodes } = norm;
  const shape = view.shape(x) ?? [];
  const [first = 0] = axes;
  const isTrailing = axes.every((axis, i) => axis === shape.length - axes.length + i);
  const dims = shape.slice(first);
  const dtype = view.dtype(x);
  if (!isTrailing || dtype !== view.dtype(root.outputs[0] ?? "")) return;
  const given = [gain, offset].filter((name) => name !== undefined);
  if (given.some((name) => view.dtype(name) !== dtype)) return;
  const epsilon = float(norm.epsilon);
  const sizes = isStatic(dims) ? dims : undefined;
  const scale = sizes && parameter(view, gain, sizes, { fill: 1, like: x });
  const bias = sizes && offset && parameter(view, offset, sizes, { fill: 0, like: x });
  if (scale !== undefined && (offset === undefined || bias !== undefined)) {
    const attributes = { axis: int(first - shape.length), epsilon };
    const inputs = bias === undefined || bias === "" ? [x, scale] : [x, scale, bias];
    const op = norm.centred ? "LayerNormalization" : "RMSNormalization";
    if (norm.centred || offset === undefined) yield { op, inputs, attributes, nodes };
    return;
  }
  const channels = shape[1];
  if (!norm.centred || first !== 2 || typeof channels !== "number") return;
  const inputs = [
    x,
    perChannel(view, gain, shape.length, { channels, fill: 1, like: x }),
    perChannel(view, offset, shape.length, { channels, fill: 0, like: x }),
  ].filter((input) => input !== undefined);
  if (inputs.length === 3) {
    yield { op: "InstanceNormalization", inputs, attributes: { epsilon }, nodes };
  }
}

/**
 * x·m + (β - mean·m) with m = γ/√(variance + ε), as TensorFlow computes a LayerNorm by its function for
 * batch norms; Keras adds (-mean)·m.
 */
function* byMoments(view: View, root: Node): Generator<Match> {
  for (const [product, rest] of view.operands(root)) {
    const scaled = view.made(product, "Mul");
    if (scaled === undefined) continue;
    for (const shift of shiftsOf(view, rest)) {
      for (const [x, m] of view.operands(scaled)) {
        const norm = shift.moved.inputs.includes(m) ? momentNorm(view, x, m, shift) : undefined;
        if (norm === undefined) continue;
        const nodes = [scaled, shift.node, shift.moved, ...norm.nodes];
        const gain = norm.gain === undefined ? {} : { gain: norm.gain };
        yield* layerMatch(view, root, { ...norm, nodes }, { ...gain, offset: shift.offset });
      }
    }
  }
}

/** What is added to the scaled value: an offset with a product taken off, or a negative one added. */
interface Shift {
  readonly node: Node;
  readonly moved: Node;
  readonly offset: ValueName;
  readonly negative: boolean;
}

function* shiftsOf(view: View, name: ValueName): Generator<Shift> {
  const node = view.made(name, "Sub", "Add");
  if (node === undefined) return;
  const negative = node.op === "Add";
  for (const [offset, product] of view.operands(node)) {
    const moved = view.made(product, "Mul");
    if (moved === undefined || view.constant(offset) === undefined) continue;
    if (negative || offset === node.inputs[0]) yield { node, moved, offset, negative };
  }
}

/** Whether m is γ/√(variance(x) + ε), and the other factor of what is moved by the mean of x, or minus that. */
function momentNorm(
  view: View,
  x: ValueName,
  m: ValueName,
  { moved, negative }: Shift,
): (Normalized & { readonly gain: ValueName | undefined }) | undefined {
  const factor = moved.inputs.find((name) => name !== m) ?? "";
  const minus = view.made(factor, "Neg");
  if (negative !== (minus !== undefined)) return undefined;
  const centre = meanOf(view, minus?.inputs[0] ?? factor);
  const found = momentGain(view, m, x);
  if (centre === undefined || centre.squared || found === undefined) return undefined;
  if (centre.of !== x || !sameAxes(centre.axes, found.axes)) return undefined;
  const { axes, epsilon, gain } = found;
  const own = minus === undefined ? centre.nodes : [minus, ...centre.nodes];
  return { x, centred: true, axes, epsilon, gain, nodes: [...own, ...found.nodes] };
}

/** γ/√(variance(x) + ε), or without γ. */
function momentGain(view: View, name: ValueName, x: ValueName) {
  const product = view.made(name, "Mul");
  const readings: readonly (readonly [ValueName, ValueName | undefined])[] =
    product === undefined ? [[name, undefined]] : view.operands(product);
  for (const [inverse, gain] of readings) {
    if (gain !== undefined && view.constant(gain) === undefined) continue;
    const root = inverseRootOf(view, inverse);
    const sum = root && view.made(root.of, "Add");
    if (root === undefined || sum === undefined) continue;
    for (const [variance, small] of view.operands(sum)) {
      const epsilon = view.scalar(small);
      const square = squaredMean(view, variance);
      const found = square && meanOfSquare(view, square.of, variance);
      if (epsilon === undefined || !found?.centred || found.x !== x) continue;
      const nodes = [
        ...(product === undefined ? [] : [product]),
        ...root.nodes,
        sum,
        ...found.nodes,
      ];
      return { axes: found.axes, epsilon, gain, nodes };
    }
  }
  return undefined;
}
