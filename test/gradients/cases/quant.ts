// Cases of quantized values. QuantizeLinear has none: what it passes on is no slope (src/ops/quant.test.ts).

import type { Random } from "../../../src/base/random.ts";
import type { DType } from "../../../src/graph/dtype.ts";
import { int } from "../../../src/graph/graph.ts";
import { bytesOf, float32, type Tensor, tensor } from "../../../src/graph/tensor.ts";
import {
  between,
  type CaseInput,
  constant,
  fed,
  type Generator,
  type Generators,
  omitted,
  positive,
  turn,
  x,
} from "../case.ts";

function bytes(dtype: DType, shape: readonly number[], random: Random, most: number): Tensor {
  const count = shape.reduce((a, b) => a * b, 1);
  return tensor(
    dtype,
    shape,
    bytesOf(Uint8Array.from({ length: count }, () => random.integer(most))),
  );
}

function floats(random: Random, count: number): Tensor {
  return float32(
    [count],
    Array.from({ length: count }, () => positive(random)),
  );
}

const dequantize: Generator = (random, variant) => {
  const shape = [between(random, 1, 3), between(random, 1, 5), between(random, 1, 3)];
  const form = turn(variant, ["whole", "axis", "blocks"] as const);
  const axis = random.integer(3);
  const block = between(random, 2, 3);
  const scales = {
    whole: [],
    axis: [shape[axis] ?? 1],
    blocks: shape.with(axis, Math.ceil((shape[axis] ?? 1) / block)),
  }[form];
  const zero = variant % 2 === 1;
  const dtype = turn(variant, ["uint8", "int8"] as const);
  return {
    op: "DequantizeLinear",
    form: `${form}${zero ? ", zero point" : ""}`,
    opset: 21,
    inputs: [
      fed(bytes(dtype, shape, random, 128)),
      x(scales, positive),
      ...(zero ? [constant(bytes(dtype, scales, random, 128))] : []),
    ],
    attributes: {
      ...(form !== "whole" && { axis: int(variant % 2 === 0 ? axis : axis - 3) }),
      ...(form === "blocks" && { block_size: int(block) }),
    },
  };
};

const matMulNBits: Generator = (random, variant) => {
  const bits = turn(variant, [4, 8, 2] as const);
  const block = 16;
  const columns = turn(variant, [16, 40, 32, 20] as const);
  const [rows, batch] = [between(random, 1, 5), between(random, 1, 3)];
  const blocks = Math.ceil(columns / block);
  const form = turn(Math.floor(variant / 3), ["none", "packed", "floats"] as const);
  // The runtime takes floats for them beside 4 bits alone.
  const zeros = form === "floats" && bits !== 4 ? "packed" : form;
  const packedZeros = bytes("uint8", [rows * Math.ceil((blocks * bits) / 8)], random, 256);
  const points: Record<typeof zeros, CaseInput> = {
    none: omitted,
    packed: constant(packedZeros),
    floats: constant(floats(random, rows * blocks)),
  };
  const biased = variant % 2 === 1;
  return {
    op: "MatMulNBits",
    domain: "com.microsoft",
    form: `${bits} bits, zero points ${zeros}${biased ? ", bias" : ""}`,
    inputs: [
      x([batch, 2, columns]),
      constant(bytes("uint8", [rows, blocks, (block * bits) / 8], random, 256)),
      constant(floats(random, rows * blocks)),
      points[zeros],
      ...(biased ? [omitted, x([rows])] : []),
    ],
    attributes: { K: int(columns), N: int(rows), bits: int(bits), block_size: int(block) },
  };
};

/** All of this family. */
export const quantized: Generators = {
  DequantizeLinear: dequantize,
  "com.microsoft/MatMulNBits": matMulNBits,
};
