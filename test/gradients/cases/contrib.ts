// Cases of what ONNX Runtime puts in the place of other ops.

import type { Random } from "../../../src/base/random.ts";
import { type Attribute, float, int, ints, string } from "../../../src/graph/graph.ts";
import { bytesOf, type Tensor, tensor } from "../../../src/graph/tensor.ts";
import {
  awayFrom,
  between,
  type CaseInput,
  fed,
  type Generator,
  type Generators,
  omitted,
  shapeOf,
  turn,
  within,
  x,
} from "../case.ts";

const DOMAIN = "com.microsoft";

type Fused = readonly [name: string, numbers: readonly number[]];

/** Activations with what they are told in a list; a kink that a sum may meet is met by no difference. */
const ACTIVATIONS: readonly [Fused, ...Fused[]] = [
  ["", []],
  ["Tanh", []],
  ["Sigmoid", []],
  ["Relu", []],
  ["LeakyRelu", [0.25]],
  ["HardSigmoid", [0.125, 0.5]],
  ["Clip", [-0.75, 0.75]],
];

const fusedConv: Generator = (random, variant) => {
  const [n, channels, filters] = [
    between(random, 1, 2),
    between(random, 1, 3),
    between(random, 1, 3),
  ];
  const [height, width] = [between(random, 2, 4), between(random, 2, 4)];
  const kernel = turn(variant, [3, 1] as const);
  const [activation, numbers] = turn(variant, ACTIVATIONS);
  const biased = variant % 2 === 0;
  // The runtime adds a skip in front of these activations alone.
  const summed = variant % 3 === 0 && (activation === "Relu" || activation === "");
  return {
    op: "FusedConv",
    domain: DOMAIN,
    form: [activation === "" ? "plain" : activation, ...(summed ? ["sum"] : [])].join(", "),
    inputs: [
      x([n, channels, height, width]),
      x([filters, channels, kernel, kernel]),
      biased ? x([filters]) : omitted,
      ...(summed ? [x([n, filters, height, width])] : []),
    ],
    attributes: {
      ...(activation !== "" && { activation: string(activation) }),
      ...(numbers.length > 0 && { activation_params: { kind: "floats", value: numbers } }),
      pads: ints(new Array(4).fill((kernel - 1) / 2)),
      kernel_shape: ints([kernel, kernel]),
    },
  };
};

const fusedGemm: Generator = (random, variant) => {
  const [m, k, n] = [between(random, 1, 4), between(random, 1, 4), between(random, 1, 4)];
  const [a, b] = [Math.floor(variant / 2) % 2, Math.floor(variant / 4) % 2];
  const activation = turn(variant, ["Tanh", "Sigmoid", "Relu", "LeakyRelu"] as const);
  const attributes: Record<string, Attribute> = {
    activation: string(activation),
    transA: int(a),
    transB: int(b),
    alpha: float(0.5),
    beta: float(2),
  };
  if (activation === "LeakyRelu") attributes["activation_alpha"] = float(0.25);
  return {
    op: "FusedGemm",
    domain: DOMAIN,
    form: `${activation}, transposed ${a} ${b}`,
    inputs: [x(a ? [k, m] : [m, k]), x(b ? [n, k] : [k, n]), x([n])],
    attributes,
  };
};

/** A shape `[…batch, rows, columns]` as the attributes want it. */
function given(shape: readonly number[], swapped: boolean, batched: boolean): CaseInput {
  const [rows = 1, columns = 1] = shape.slice(-2);
  const batch = shape.slice(0, -2);
  const [last, other] = swapped ? [rows, columns] : [columns, rows];
  return x(batched ? [other, ...batch, last] : [...batch, other, last]);
}

const fusedMatMul: Generator = (random, variant) => {
  const bits = [1, 2, 4, 8].map((bit) => Math.floor(variant / bit) % 2 === 1);
  const batch = shapeOf(random, turn(variant, [1, 2] as const), 3);
  const [m, k, n] = [between(random, 1, 4), between(random, 1, 4), between(random, 1, 4)];
  const [transA = false, transB = false, batchA = false, batchB = false] = bits;
  return {
    op: "FusedMatMul",
    domain: DOMAIN,
    form: bits.map(Number).join(" "),
    inputs: [given([...batch, m, k], transA, batchA), given([...batch, k, n], transB, batchB)],
    attributes: {
      transA: int(Number(transA)),
      transB: int(Number(transB)),
      transBatchA: int(Number(batchA)),
      transBatchB: int(Number(batchB)),
      ...(variant % 3 === 0 && { alpha: float(0.5) }),
    },
  };
};

const embed: Generator = (random, variant) => {
  const [batch, length, width] = [
    between(random, 1, 3),
    between(random, 1, 4),
    between(random, 4, 6),
  ];
  const rows = between(random, 4, 5);
  const ids = (count: number): CaseInput =>
    fed(
      int32(
        [batch, length],
        Array.from({ length: batch * length }, () => random.integer(count)),
      ),
    );
  const kinds = variant % 2 === 0;
  const masked = variant % 3 === 0;
  const placed = variant % 4 === 3;
  const vector = x([width]);
  return {
    op: "EmbedLayerNormalization",
    domain: DOMAIN,
    form: [
      "tables",
      ...(kinds ? ["segments"] : []),
      ...(masked ? ["mask"] : []),
      ...(placed ? ["positions"] : []),
    ].join(", "),
    inputs: [
      ids(rows),
      kinds ? ids(2) : omitted,
      x([rows, width]),
      x([rows, width]),
      kinds ? x([2, width]) : omitted,
      vector,
      vector,
      masked ? ids(2) : omitted,
      ...(placed ? [ids(rows)] : []),
    ],
    attributes: { epsilon: float(1e-2) },
    outputs: variant % 5 === 4 ? 3 : 2,
  };
};

function int32(shape: readonly number[], values: readonly number[]): Tensor {
  return tensor("int32", shape, bytesOf(Int32Array.from(values)));
}

function activation(op: string, bias: "none" | "maybe" | "always"): Generator {
  return (random: Random, variant) => {
    const shape = shapeOf(random, between(random, 2, 3), 4);
    const biased = bias === "always" || (bias === "maybe" && variant % 2 === 0);
    return {
      op,
      domain: DOMAIN,
      form: biased ? "bias" : "plain",
      inputs: [x(shape, within(-3, 3)), ...(biased ? [x([shape.at(-1) ?? 1], awayFrom(0))] : [])],
      ...(op === "QuickGelu" && variant % 2 === 1 && { attributes: { alpha: float(0.75) } }),
    };
  };
}

/** All of this family. */
export const contrib: Generators = {
  "com.microsoft/FusedConv": fusedConv,
  "com.microsoft/FusedGemm": fusedGemm,
  "com.microsoft/FusedMatMul": fusedMatMul,
  "com.microsoft/EmbedLayerNormalization": embed,
  "com.microsoft/Gelu": activation("Gelu", "none"),
  "com.microsoft/BiasGelu": activation("BiasGelu", "always"),
  "com.microsoft/FastGelu": activation("FastGelu", "maybe"),
  "com.microsoft/QuickGelu": activation("QuickGelu", "none"),
};
