// Random graphs of mixed ops with static shapes, for properties of gradients that hold whatever the graph.
// Values stay of moderate size, and no function leaves its domain.

import type { Random } from "../../src/base/random.ts";
import { TypedBuilder } from "../../src/canonical/typed-builder.ts";
import {
  type Attribute,
  float,
  type Graph,
  int,
  ints,
  type ValueName,
} from "../../src/graph/graph.ts";
import { float32, int64, tensor } from "../../src/graph/tensor.ts";
import { OPS } from "../../src/ops/index.ts";
import { type Array64, broadcastShapes, floats, sizeOf } from "../float64/array.ts";
import { between, oneOf } from "./case.ts";

/** A graph whose only float inputs are its leaves, and what is fed to them. */
export interface RandomGraph {
  readonly graph: Graph;
  readonly leaves: readonly ValueName[];
  readonly feeds: ReadonlyMap<ValueName, Array64>;
  /** Values that no node reads. */
  readonly ends: readonly ValueName[];
}

/** Largest value of a graph: the oracle is slow. */
const ELEMENTS_MAX = 150;
const RANK_MAX = 4;

/** A graph under construction. */
class Growth {
  readonly builder = new TypedBuilder();
  readonly random: Random;
  readonly feeds = new Map<ValueName, Array64>();
  readonly live: ValueName[] = [];
  readonly read = new Set<ValueName>();

  constructor(random: Random) {
    this.random = random;
  }

  shape(name: ValueName): readonly number[] {
    const shape = this.builder.typeOf(name)?.shape ?? [];
    return shape.map((dim) => {
      if (typeof dim !== "number") throw new Error(`"${name}" has no static shape`);
      return dim;
    });
  }

  /** A new input, normal with a deviation. */
  leaf(shape: readonly number[], deviation = 1): ValueName {
    const name = `leaf${this.feeds.size}`;
    const values = Array.from({ length: sizeOf(shape) }, () => deviation * this.random.normal());
    this.feeds.set(name, floats(shape, values.map(Math.fround)));
    this.builder.input(name, "float32", shape);
    this.live.push(name);
    return name;
  }

  /** A value to read: one of the last more often than not, so that graphs get deep. */
  pick(fits: (shape: readonly number[]) => boolean = () => true): ValueName | undefined {
    const fitting = this.live.filter((name) => fits(this.shape(name)));
    if (fitting.length === 0) return undefined;
    const recent = this.random.uniform() < 0.6 ? fitting.slice(-3) : fitting;
    return recent[this.random.integer(recent.length)];
  }

  emit(
    op: string,
    inputs: readonly ValueName[],
    attributes: Readonly<Record<string, Attribute>> = {},
    outputCount = 1,
  ): readonly ValueName[] {
    const outputs = this.builder.emitAll(op, inputs, { attributes, outputCount });
    for (const name of inputs) this.read.add(name);
    const fit = outputs.filter((name) => sizeOf(this.shape(name)) <= ELEMENTS_MAX);
    this.live.push(...fit);
    return outputs;
  }

  list(values: readonly number[]): ValueName {
    return this.builder.constant(int64([values.length], values));
  }
}

/** Adds a node of an op if something fits it. */
type Grow = (growth: Growth) => void;

const axisIn = (growth: Growth, rank: number): number =>
  growth.random.integer(rank) - (growth.random.uniform() < 0.3 ? rank : 0);

function unary(op: string, attributes?: Readonly<Record<string, Attribute>>): Grow {
  return (growth) => {
    const x = growth.pick();
    if (x !== undefined) growth.emit(op, [x], attributes);
  };
}

function binary(op: string): Grow {
  return (growth) => {
    const a = growth.pick();
    if (a === undefined) return;
    const own = growth.shape(a);
    const fits = (shape: readonly number[]): boolean => {
      try {
        return sizeOf(broadcastShapes([own, shape])) <= ELEMENTS_MAX;
      } catch {
        return false;
      }
    };
    const spread = own.map((dim) => (growth.random.uniform() < 0.3 ? 1 : dim));
    const b = growth.random.uniform() < 0.3 ? growth.leaf(spread) : growth.pick(fits);
    if (b !== undefined) growth.emit(op, growth.random.uniform() < 0.5 ? [a, b] : [b, a]);
  };
}

function along(op: string): Grow {
  return (growth) => {
    const x = growth.pick((shape) => shape.length > 0);
    if (x === undefined) return;
    growth.emit(op, [x], { axis: int(axisIn(growth, growth.shape(x).length)) });
  };
}

function reduction(op: string): Grow {
  return (growth) => {
    const x = growth.pick((shape) => shape.length > 0);
    if (x === undefined) return;
    const axes = growth.list([axisIn(growth, growth.shape(x).length)]);
    growth.emit(op, [x, axes], { keepdims: int(growth.random.integer(2)) });
  };
}

const matMul: Grow = (growth) => {
  const x = growth.pick((shape) => shape.length > 0);
  if (x === undefined) return;
  const width = growth.shape(x).at(-1) ?? 1;
  const weight = growth.leaf([width, between(growth.random, 1, 4)], 1 / Math.sqrt(width));
  growth.emit("MatMul", [x, weight]);
};

/** A value times its own transpose: the same value read twice. */
const gram: Grow = (growth) => {
  const x = growth.pick((shape) => shape.length === 2);
  if (x === undefined) return;
  const [turned = ""] = growth.emit("Transpose", [x], { perm: ints([1, 0]) });
  growth.emit("MatMul", [x, turned]);
};

const conv: Grow = (growth) => {
  const x = growth.pick((shape) => shape.length === 3 && (shape[2] ?? 0) > 2);
  if (x === undefined) return;
  const channels = growth.shape(x)[1] ?? 1;
  const weight = growth.leaf([between(growth.random, 1, 3), channels, 3], 1 / (3 * channels));
  growth.emit("Conv", [x, weight], { pads: ints([1, growth.random.integer(2)]) });
};

const reshape: Grow = (growth) => {
  const x = growth.pick((shape) => shape.length > 0);
  if (x === undefined) return;
  const shape = growth.shape(x);
  const at = growth.random.integer(shape.length);
  const wider = [...shape.slice(0, at), 1, ...shape.slice(at)];
  const target = oneOf(growth.random, [[-1], [...shape.slice(0, at), -1], wider]);
  if (target.length <= RANK_MAX) growth.emit("Reshape", [x, growth.list(target)]);
};

const transpose: Grow = (growth) => {
  const x = growth.pick();
  if (x === undefined) return;
  const perm = Array.from(growth.random.permutation(growth.shape(x).length));
  growth.emit("Transpose", [x], { perm: ints(perm) });
};

const concat: Grow = (growth) => {
  const a = growth.pick((shape) => shape.length > 0);
  if (a === undefined) return;
  const own = growth.shape(a);
  const axis = growth.random.integer(own.length);
  const b = growth.pick(
    (shape) => shape.length === own.length && shape.every((dim, i) => i === axis || dim === own[i]),
  );
  if (b !== undefined) growth.emit("Concat", [a, b], { axis: int(axis) });
};

const split: Grow = (growth) => {
  const x = growth.pick((shape) => shape.some((dim) => dim > 1));
  if (x === undefined) return;
  const shape = growth.shape(x);
  const axis = shape.findIndex((dim) => dim > 1);
  const first = between(growth.random, 1, (shape[axis] ?? 2) - 1);
  const sizes = growth.list([first, (shape[axis] ?? 2) - first]);
  growth.emit("Split", [x, sizes], { axis: int(axis) }, 2);
};

const slice: Grow = (growth) => {
  const x = growth.pick((shape) => shape.some((dim) => dim > 1));
  if (x === undefined) return;
  const shape = growth.shape(x);
  const axis = shape.findIndex((dim) => dim > 1);
  const step = between(growth.random, 1, 2);
  const bounds = [[growth.random.integer(2)], [shape[axis] ?? 1], [axis - shape.length], [step]];
  growth.emit("Slice", [x, ...bounds.map((one) => growth.list(one))]);
};

const gather: Grow = (growth) => {
  const x = growth.pick((shape) => shape.length > 0);
  if (x === undefined) return;
  const axis = growth.random.integer(growth.shape(x).length);
  const size = growth.shape(x)[axis] ?? 1;
  const rows = Array.from({ length: 3 }, () => growth.random.integer(size));
  growth.emit("Gather", [x, growth.list(rows)], { axis: int(axis) });
};

const pad: Grow = (growth) => {
  const x = growth.pick((shape) => shape.length > 0 && shape.length <= 2);
  if (x === undefined) return;
  const widths = growth
    .shape(x)
    .flatMap(() => [growth.random.integer(2), growth.random.integer(2)]);
  growth.emit("Pad", [x, growth.list(widths)]);
};

const expand: Grow = (growth) => {
  const x = growth.pick((shape) => shape.length < RANK_MAX);
  if (x === undefined) return;
  growth.emit("Expand", [x, growth.list([2, ...growth.shape(x)])]);
};

const where: Grow = (growth) => {
  const x = growth.pick();
  if (x === undefined) return;
  const shape = growth.shape(x);
  const bits = Uint8Array.from({ length: sizeOf(shape) }, () => growth.random.integer(2));
  const y = growth.pick((other) => other.join() === shape.join()) ?? growth.leaf(shape);
  growth.emit("Where", [growth.builder.constant(tensor("bool", shape, bits)), x, y]);
};

const layerNorm: Grow = (growth) => {
  const x = growth.pick((shape) => (shape.at(-1) ?? 1) > 1);
  if (x === undefined) return;
  const width = growth.shape(x).at(-1) ?? 1;
  growth.emit("LayerNormalization", [x, growth.leaf([width]), growth.leaf([width])], {
    epsilon: float(1e-2),
  });
};

const scale: Grow = (growth) => {
  const x = growth.pick();
  if (x !== undefined) growth.emit("Mul", [x, growth.builder.constant(float32([], [0.5]))]);
};

/** By the op that each adds; those whose op has no gradient yet are left out. */
const GROWS: readonly (readonly [string, Grow])[] = [
  ...["Tanh", "Sigmoid", "Sin", "Cos", "Relu", "Neg", "Abs", "Identity"].map(
    (op) => [op, unary(op)] as const,
  ),
  ...["Erf", "Softplus", "Atan", "Gelu", "Mish", "HardSwish"].map((op) => [op, unary(op)] as const),
  ["LeakyRelu", unary("LeakyRelu", { alpha: float(0.25) })],
  ...["Add", "Sub", "Mul", "Add", "Max", "Min"].map((op) => [op, binary(op)] as const),
  ...["Softmax", "LogSoftmax", "Softmax"].map((op) => [op, along(op)] as const),
  ...["ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceMax", "ReduceLogSumExp"].map(
    (op) => [op, reduction(op)] as const,
  ),
  ["MatMul", matMul],
  ["MatMul", gram],
  ["Conv", conv],
  ["Conv", conv],
  ["Reshape", reshape],
  ["Transpose", transpose],
  ["Concat", concat],
  ["Split", split],
  ["Slice", slice],
  ["Gather", gather],
  ["Pad", pad],
  ["Expand", expand],
  ["Where", where],
  ["LayerNormalization", layerNorm],
  ["Mul", scale],
];

function hasGradient(op: string): boolean {
  const gradient = OPS.get(`/${op}`)?.gradient;
  return (
    gradient !== undefined &&
    gradient !== "zero" &&
    !(typeof gradient === "object" && "because" in gradient)
  );
}

/** A graph of about as many nodes as asked for. */
export function randomGraph(random: Random, nodes: number): RandomGraph {
  const growth = new Growth(random);
  growth.leaf([2, 3]);
  growth.leaf([1, 2, 5]);
  const known = GROWS.filter(([op]) => hasGradient(op));
  for (let n = 0; n < nodes; n++) known[random.integer(known.length)]?.[1](growth);
  const ends = growth.live.filter((name) => !growth.read.has(name));
  const leaves = [...growth.feeds.keys()];
  const graph = growth.builder.finish("random", new Map([["", 20]]));
  return { graph, leaves, feeds: growth.feeds, ends };
}
