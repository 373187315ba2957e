// A product with weights of a few bits (onnxruntime, ContribOperators.md, MatMulNBits): rows of them in blocks,
// each with a scale and a zero point, several numbers packed into a byte.

import { int, intAttribute, type ValueName } from "../graph/graph.ts";
import { scalarOf } from "../graph/tensor.ts";
import { arithmetic } from "./arithmetic.ts";
import { castTo, knownShape, noGradient, reduce, shapeConstant } from "./construct.ts";
import type { GradientContext, OpDef } from "./op.ts";
import { costOf, defineOp, typed } from "./rules.ts";

/** What the attributes say of the weights. */
interface Packing {
  readonly rows: number;
  readonly columns: number;
  readonly bits: number;
  readonly block: number;
  readonly blocks: number;
}

function packingOf({ node }: GradientContext): Packing {
  const [columns, rows] = [intAttribute(node, "K", 0), intAttribute(node, "N", 0)];
  const [bits, block] = [intAttribute(node, "bits", 4), intAttribute(node, "block_size", 32)];
  return { rows, columns, bits, block, blocks: Math.ceil(columns / block) };
}

/** The numbers in bytes `[rows, …]`, lowest bits first, as floats `[rows, all of them]`. */
function unpacked(context: GradientContext, bytes: ValueName, { rows, bits }: Packing): ValueName {
  const byte = (value: number): ValueName => context.constant(scalarOf("uint8", value), "byte");
  const apart = Array.from({ length: 8 / bits }, (_, i) => {
    const shifted =
      i === 0
        ? bytes
        : context.emit("BitShift", [bytes, byte(i * bits)], {
            attributes: { direction: { kind: "string", value: "RIGHT" } },
          });
    const own = context.emit("BitwiseAnd", [shifted, byte(2 ** bits - 1)]);
    return context.emit("Unsqueeze", [own, shapeConstant(context, [-1])]);
  });
  const all = context.emit("Concat", apart, { attributes: { axis: int(-1) } });
  const flat = context.emit("Reshape", [all, shapeConstant(context, [rows, -1])]);
  return castTo(context, flat, "float32");
}

/** Zero points `[rows, blocks, 1]`: packed like the weights, floats, or the middle of the range. */
function zeroPoints(context: GradientContext, packing: Packing): ValueName | number {
  const { rows, bits, blocks } = packing;
  const given = context.node.inputs[3] ?? "";
  if (given === "") return 2 ** (bits - 1);
  const target = shapeConstant(context, [rows, blocks, 1]);
  if (context.typeOf(given)?.dtype !== "uint8") {
    return castTo(context, context.emit("Reshape", [given, target]), "float32");
  }
  const bytes = context.emit("Reshape", [given, shapeConstant(context, [rows, -1])]);
  const [start, end, axis] = [0, blocks, 1].map((value) => shapeConstant(context, [value]));
  // The last byte of a row may be half full.
  const kept = context.emit("Slice", [
    unpacked(context, bytes, packing),
    start ?? "",
    end ?? "",
    axis ?? "",
  ]);
  return context.emit("Reshape", [kept, target]);
}

/** The weights as floats `[N, K]`. */
function weightsOf(context: GradientContext, packing: Packing): ValueName {
  const [, packed = "", scales = ""] = context.node.inputs;
  const { rows, columns, block, blocks } = packing;
  const numbers = unpacked(context, packed, packing);
  const inBlocks = context.emit("Reshape", [
    numbers,
    shapeConstant(context, [rows, blocks, block]),
  ]);
  const a = arithmetic(context, inBlocks);
  const scale = context.emit("Reshape", [scales, shapeConstant(context, [rows, blocks, 1])]);
  const exact = a.mul(
    a.sub(inBlocks, zeroPoints(context, packing)),
    castTo(context, scale, "float32"),
  );
  const whole = context.emit("Reshape", [exact, shapeConstant(context, [rows, blocks * block])]);
  if (blocks * block === columns) return whole;
  const [start, end, axis] = [0, columns, 1].map((value) => shapeConstant(context, [value]));
  return context.emit("Slice", [whole, start ?? "", end ?? "", axis ?? ""]);
}

/** Through the activations alone: dA = dy·W. The weights are integers, and stay what they are. */
export const matMulNBits: OpDef = defineOp("MatMulNBits", {
  domain: "com.microsoft",
  shape: (c) => {
    const a = c.input(0);
    const shape = a?.shape && [...a.shape.slice(0, -1), intAttribute(c.node, "N", 0)];
    return [typed(a?.dtype, shape)];
  },
  cost: costOf((node, [a]) => {
    const rows = a?.shape?.slice(0, -1) ?? ["?"];
    const products = 2 * intAttribute(node, "K", 0) * intAttribute(node, "N", 0);
    return rows.every((dim) => typeof dim === "number")
      ? rows.reduce((x, y) => x * y, products)
      : undefined;
  }),
  saves: { inputs: [1, 2, 3], outputs: [] },
  gradient: (context, [dy]) => {
    if (dy === undefined) return [];
    const { node } = context;
    if ((node.inputs[4] ?? "") !== "")
      throw noGradient(node, "its columns are in another order (g_idx)");
    const bits = intAttribute(node, "bits", 4);
    if (8 % bits !== 0)
      throw noGradient(node, `its weights of ${bits} bits are not whole in a byte`);
    const bias = node.inputs[5] ?? "";
    const dA = (): ValueName => {
      const dtype = context.typeOf(dy)?.dtype ?? "float32";
      const weights = castTo(context, weightsOf(context, packingOf(context)), dtype);
      return context.emit("MatMul", [dy, weights]);
    };
    const leading = knownShape(context, dy, node)
      .slice(0, -1)
      .map((_, axis) => axis);
    return [
      context.wants(0) ? dA() : undefined,
      ...new Array<undefined>(4).fill(undefined),
      bias !== "" && context.wants(5)
        ? reduce(context, "ReduceSum", dy, leading, false)
        : undefined,
    ];
  },
});
