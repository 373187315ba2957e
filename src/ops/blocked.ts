// Ops of a region in ONNX Runtime's blocked layout. A value [N, C, H, W] of the region lies in memory as
// [N, C/B, H, W, B] and a convolution's weight [O, I, kh, kw] as [O/B, I/B, kh·kw, B of I, B of O]; shapes are
// told as if it lay plain. Passes make these ops and replace them before a file is written
// (passes/blocked). What treats each element alone stands in the region as it is.

import {
  type Attribute,
  int,
  intAttribute,
  ints,
  intsAttribute,
  type Node,
  type ValueName,
} from "../graph/graph.ts";
import { type Dim, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import { staticShape } from "./construct.ts";
import { convShape } from "./conv.ts";
import type { GradientContext, OpDef, ShapeRule } from "./op.ts";
import { costOf, defineOp, free, perInput, sameAsInput, typed } from "./rules.ts";

/** The domain of these ops. */
export const BLOCKED_DOMAIN = "skipway.blocked";

function blocked(type: string, parts: Omit<Parameters<typeof defineOp>[1], "domain">): OpDef {
  return defineOp(type, { domain: BLOCKED_DOMAIN, ...parts });
}

const inDomain = { domain: BLOCKED_DOMAIN };

/** The next multiple of the block for channels that a node's attribute `block` tells. */
function whole(node: Node, dim: Dim | undefined): Dim {
  const block = intAttribute(node, "block", 1);
  return typeof dim === "number" ? Math.ceil(dim / block) * block : UNKNOWN_DIM;
}

/**
 * Into the region, and out of it: each is the other's gradient. `channels`: how many there are outside; inside they
 * are filled up with zeros to blocks of `block`.
 */
const enter = blocked("Enter", {
  shape: (c) => {
    const x = c.input(0);
    const shape = x?.shape?.map((dim, axis) => (axis === 1 ? whole(c.node, dim) : dim));
    return [typed(x?.dtype, shape)];
  },
  cost: perInput(0),
  gradient: (c, [dy]) => [
    dy && c.emit("Leave", [dy], { ...inDomain, attributes: c.node.attributes }),
  ],
});
const leave = blocked("Leave", {
  shape: (c) => {
    const x = c.input(0);
    const channels = intAttribute(c.node, "channels") ?? UNKNOWN_DIM;
    return [
      typed(
        x?.dtype,
        x?.shape?.map((dim, axis) => (axis === 1 ? channels : dim)),
      ),
    ];
  },
  cost: perInput(0),
  gradient: (c, [dy]) => [
    dy && c.emit("Enter", [dy], { ...inDomain, attributes: c.node.attributes }),
  ],
});

/**
 * A weight into blocks of `block`, filled up with zeros, and back to its `size` of outputs and inputs. `plain`: its
 * inputs are few, and only outputs are in blocks.
 */
const blockWeight = blocked("BlockWeight", {
  shape: (c) => {
    const w = c.input(0);
    const plain = intAttribute(c.node, "plain", 0) !== 0;
    const last = plain ? 0 : 1;
    return [
      typed(
        w?.dtype,
        w?.shape?.map((dim, axis) => (axis <= last ? whole(c.node, dim) : dim)),
      ),
    ];
  },
  cost: perInput(0),
  gradient: (c, [dy]) => [
    dy && c.emit("PlainWeight", [dy], { ...inDomain, attributes: c.node.attributes }),
  ],
});
const plainWeight = blocked("PlainWeight", {
  shape: (c) => {
    const [w, size] = [c.input(0), intsAttribute(c.node, "size")];
    return [typed(w?.dtype, size && w?.shape && [...size, ...w.shape.slice(2)])];
  },
  cost: perInput(0),
  gradient: { because: "it stands where gradients are made already" },
});

function flops(weight: Shape | undefined, pixels: Shape | undefined): number | undefined {
  const all = [...(weight?.slice(1) ?? ["?"]), ...(pixels ?? ["?"])];
  return all.every((dim) => typeof dim === "number") ? all.reduce((a, b) => a * b, 2) : undefined;
}

/**
 * Convolution of x with w, and a bias. Dilation 1, the same stride along both axes, one group, or with `depthwise` one
 * for each channel. `plain`: x lies plain and has fewer channels than a block; its gradient is not to be had.
 */
const conv = blocked("Conv", {
  shape: (c) => [typed(c.input(0)?.dtype, convShape(c))],
  cost: costOf((_node, [, w], [y]) => flops(w?.shape, y?.shape)),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: (c, [dy]) => {
    if (dy === undefined) return [];
    const [x = "", w = ""] = c.node.inputs;
    const [, , height = 0, width = 0] = staticShape(c, x, c.node);
    const shared = pick(c.node, ["kernel_shape", "pads", "strides", "plain", "depthwise"]);
    const size = { size: ints([height, width]) };
    return [
      c.wants(0) && intAttribute(c.node, "plain", 0) === 0
        ? c.emit("InputGradient", ["", dy, w, ""], {
            ...inDomain,
            attributes: { ...shared, ...size },
          })
        : undefined,
      c.wants(1)
        ? c.emit("WeightGradient", [x, dy, ""], { ...inDomain, attributes: shared })
        : undefined,
      c.wants(2) ? c.emit("ChannelSum", [dy], inDomain) : undefined,
    ];
  },
});

/** Whether a convolution, or a gradient of one, treats each channel alone. */
export function isDepthwise(node: Node): boolean {
  return intAttribute(node, "depthwise", 0) !== 0;
}

function pick(node: Node, names: readonly string[]) {
  return Object.fromEntries(
    names.flatMap((name) => {
      const attribute = node.attributes.get(name);
      return attribute === undefined ? [] : [[name, attribute] as const];
    }),
  );
}

/**
 * dx = `sum` + Σ over (dy, w, scale) of the convolution's adjoint at scale·dy. Inputs: sum, then triples;
 * `kernel_shape` and `pads` hold those of all triples one after another; strides are the same.
 */
const inputGradient = blocked("InputGradient", {
  shape: (c) => {
    const [sum, dy, w] = [c.input(0), c.input(1), c.input(2)?.shape];
    const size = intsAttribute(c.node, "size");
    if (sum !== undefined) return [sum];
    const [n, channels] = [dy?.shape?.[0], w?.[isDepthwise(c.node) ? 0 : 1]];
    if (n === undefined || channels === undefined || size === undefined) return [undefined];
    return [typed(dy?.dtype, [n, channels, ...size])];
  },
  cost: costOf((_node, [, dy, w]) => flops(w?.shape, dy?.shape)),
  gradient: { because: "it stands where gradients are made already" },
});

/** dw = the convolution's adjoint in w at x and scale·dy: [O, I, kh, kw] in blocks. */
const weightGradient = blocked("WeightGradient", {
  shape: (c) => {
    const [inputs, outputs] = [c.input(0)?.shape?.[1], c.input(1)?.shape?.[1]];
    const kernel = intsAttribute(c.node, "kernel_shape");
    if (inputs === undefined || outputs === undefined || kernel === undefined) return [undefined];
    return [typed(c.input(0)?.dtype, [outputs, isDepthwise(c.node) ? 1 : inputs, ...kernel])];
  },
  cost: costOf((_node, [, dy], [w]) => flops(w?.shape, dy?.shape)),
  gradient: { because: "it stands where gradients are made already" },
});

/** Σ over batch and pixels: [N, C, H, W] → [C]. */
const channelSum = blocked("ChannelSum", {
  shape: (c) => [typed(c.input(0)?.dtype, c.input(0)?.shape?.slice(1, 2))],
  cost: perInput(1),
  gradient: { because: "it stands where gradients are made already" },
});

/** x · a over channels, plus a third operand. */
const scaleChannels = blocked("ScaleChannels", {
  shape: sameAsInput,
  cost: perInput(2),
  gradient: { because: "it stands where gradients are made already" },
});

const normShape: ShapeRule = (c) => {
  const channels = c.input(1);
  return [c.input(0), channels, channels, channels, channels];
};

/**
 * BatchNormalization by the statistics of the batch, then + skip and Relu (`relu`) where they are there.
 * Inputs x, scale, bias, running mean, running variance, skip. Outputs y, the next running mean and
 * variance, the batch's mean and 1/√(variance + ε). `shifted`: x came with the running mean taken off,
 * which keeps E[x²] - mean² exact where the mean is much larger than the deviation.
 */
const norm = blocked("Norm", {
  shape: normShape,
  cost: perInput(6),
  saves: { inputs: [0, 1], outputs: [0, 3, 4] },
  gradient: (c, [dy]) => {
    if (dy === undefined) return [];
    const [x = "", scale = "", , , , skip = ""] = c.node.inputs;
    const [y = "", , , mean = "", inverse = ""] = c.node.outputs;
    const dz = intAttribute(c.node, "relu", 0) === 0 ? dy : c.emit("Mul", [dy, passed(c, y)]);
    const none = [undefined, undefined, undefined, undefined, undefined];
    if (![0, 1, 2].some((i) => c.wants(i))) return [...none, dz];
    const [e = "", a = "", gain, offset] = c.emitAll(
      "NormGradient",
      [dz, x, scale, mean, inverse],
      {
        ...inDomain,
        outputCount: 4,
      },
    );
    const dx = c.wants(0) ? c.emit("ScaleChannels", [e, a, ""], inDomain) : undefined;
    return [dx, gain, offset, undefined, undefined, skip === "" ? undefined : dz];
  },
});

/** 1 where y > 0, else 0: the mask of a Relu (see ops/elementwise). */
function passed(c: GradientContext, y: ValueName): ValueName {
  const attributes = {
    alpha: { kind: "float", value: 1e30 },
    beta: { kind: "float", value: 0 },
  } as const;
  return c.emit("HardSigmoid", [y], { attributes });
}

/**
 * Of dz, x, scale, mean, inverse deviation r: e and a with dx = a·e (a = scale·r over channels), dscale, dbias.
 * The factor a goes into the weights of the convolution before, never over the image.
 */
const normGradient = blocked("NormGradient", {
  shape: (c) => [c.input(0), c.input(2), c.input(2), c.input(2)],
  cost: perInput(6),
  gradient: { because: "it stands where gradients are made already" },
});

/** Mean over pixels, [N, C, H, W] → [N, C, 1, 1], which lies plain. */
const globalAveragePool = blocked("GlobalAveragePool", {
  shape: (c) => {
    const shape = c.input(0)?.shape?.map((dim, axis) => (axis < 2 ? dim : 1));
    return [typed(c.input(0)?.dtype, shape)];
  },
  cost: perInput(1),
  gradient: (c, [dy]) => {
    if (dy === undefined) return [undefined];
    const [, , height = 0, width = 0] = staticShape(c, c.node.inputs[0] ?? "", c.node);
    const attributes = { size: ints([height, width]) };
    return [c.emit("Spread", [dy], { ...inDomain, attributes })];
  },
});

/** [N, C, 1, 1] over so many pixels, in equal shares. */
const spread = blocked("Spread", {
  shape: (c) => {
    const shape = c.input(0)?.shape?.slice(0, 2);
    const size = intsAttribute(c.node, "size");
    return [typed(c.input(0)?.dtype, shape && size && [...shape, ...size])];
  },
  cost: free,
  gradient: { because: "it stands where gradients are made already" },
});

/** The attribute of a convolution whose input lies plain. */
export const plainInput: Readonly<Record<"plain", Attribute>> = { plain: int(1) };

/** All ops of this family. */
export const blockedOps: readonly OpDef[] = [
  ...[enter, leave, blockWeight, plainWeight, conv, inputGradient, weightGradient, channelSum],
  ...[scaleChannels, norm, normGradient, globalAveragePool, spread],
];
