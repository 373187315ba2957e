// Batch normalisation of a blocked region: statistics in two passes, the map with skip and Relu in one; its
// gradient in three (Ioffe and Szegedy 2015, section 3).

import { floatAttribute, intAttribute, type Node, type ValueName } from "../../graph/graph.ts";
import { affine, channelDot, channelMean } from "./channels.ts";
import { type Image, input, optional, output, type Views } from "./views.ts";

/** Norm. */
export function norm(v: Views, node: Node): void {
  const x = input(node, 0);
  const sizes = v.image(x);
  const { mean, variance } = statistics(v, node, sizes);
  const epsilon = v.number(floatAttribute(node, "epsilon", 1e-5));
  const inverse = v.emit(
    "Pow",
    [v.emit("Add", [variance, epsilon]), v.number(-0.5)],
    output(node, 4),
  );
  const scale = v.emit("Mul", [input(node, 1), inverse]);
  const offset = v.emit("Sub", [input(node, 2), v.emit("Mul", [mean, scale])]);
  const relu = intAttribute(node, "relu", 0) !== 0;
  affine(v, sizes, { x, scale, offset, sum: optional(node, 5), relu, output: output(node) });
  running(v, node, mean, variance);
}

/** E[x²] - mean², where the running mean is taken off already; else in two steps. Never negative. */
function statistics(v: Views, node: Node, sizes: Image): { mean: ValueName; variance: ValueName } {
  const x = input(node, 0);
  const share = v.number(1 / (sizes.batch * sizes.pixels));
  const mean = channelMean(v, x, output(node, 3));
  if (intAttribute(node, "shifted", 0) === 0) {
    const one = v.once(`ones ${sizes.channels}`, () => ones(v, sizes.channels));
    const centred = affine(v, sizes, { x, scale: one, offset: v.emit("Neg", [mean]) });
    const square = channelDot(v, centred, centred, sizes);
    return { mean, variance: v.emit("Mul", [square, share]) };
  }
  const square = v.emit("Mul", [channelDot(v, x, x, sizes), share]);
  const variance = v.emit("Sub", [square, v.emit("Mul", [mean, mean])]);
  return { mean, variance: v.emit("Relu", [variance]) };
}

function ones(v: Views, count: number): ValueName {
  return v.emit("Expand", [v.number(1), v.integers([count])]);
}

/** The next running statistics: momentum·old + (1 - momentum)·new (ONNX BatchNormalization-15). */
function running(v: Views, node: Node, mean: ValueName, variance: ValueName): void {
  const momentum = floatAttribute(node, "momentum", 0.9);
  const [kept, fresh] = [v.number(momentum), v.number(1 - momentum)];
  const move = (old: ValueName, now: ValueName, next: ValueName, keep: ValueName): void => {
    const part = v.emit("Mul", [now, fresh]);
    v.emit("Add", [keep === "" ? old : v.emit("Mul", [old, keep]), part], next);
  };
  // What is measured without the running mean is how far the mean has moved.
  const shifted = intAttribute(node, "shifted", 0) !== 0;
  move(input(node, 3), mean, output(node, 1), shifted ? "" : kept);
  move(input(node, 4), variance, output(node, 2), kept);
}

/**
 * NormGradient. With M values in a channel, S = Σ dz and D = Σ dz·x: dscale = r·(D - mean·S), dbias = S and
 * e = dz + b·x + c with b = -r·dscale/M and c = -S/M - mean·b.
 */
export function normGradient(v: Views, node: Node): void {
  const [dz, x] = [input(node, 0), input(node, 1)];
  const [scale, mean, inverse] = [input(node, 2), input(node, 3), input(node, 4)];
  const sizes = v.image(x);
  const count = sizes.batch * sizes.pixels;
  const meanDz = channelMean(v, dz);
  const total = v.emit("Mul", [meanDz, v.number(count)], output(node, 3));
  const dot = channelDot(v, dz, x, sizes);
  const centred = v.emit("Sub", [dot, v.emit("Mul", [mean, total])]);
  const gain = v.emit("Mul", [inverse, centred], output(node, 2));
  v.emit("Mul", [scale, inverse], output(node, 1));
  const b = v.emit("Mul", [v.emit("Mul", [inverse, gain]), v.number(-1 / count)]);
  const c = v.emit("Neg", [v.emit("Add", [meanDz, v.emit("Mul", [mean, b])])]);
  affine(v, sizes, { x, scale: b, offset: c, sum: dz, output: output(node) });
}
