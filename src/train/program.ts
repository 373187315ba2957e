// One training step as one graph: forward, loss, backward and update in plain ONNX. Its state goes in
// and comes out as flat vectors: parameters, momentum, running statistics.

import { inferShapes } from "../canonical/infer-shapes.ts";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import type { Graph, ValueName } from "../graph/graph.ts";
import { floatAttribute, int } from "../graph/graph.ts";
import { typeOf } from "../graph/query.ts";
import { elementCount } from "../graph/shape.ts";
import { float32, int64, scalar } from "../graph/tensor.ts";
import type { Optimizer } from "../nn/optimizer.ts";
import { enterBlocked, lowerBlocked } from "../passes/blocked/index.ts";
import { withFusedProducts } from "../passes/fused-products.ts";
import { differentiate } from "../passes/gradient/differentiate.ts";
import { recompute, segmentsBetween } from "../passes/recompute.ts";
import { trainingMode } from "../passes/training-mode.ts";
import { type Blocks, type Layout, layoutOf } from "./layout.ts";

/** Sums of squares over n, or over n - 1. */
export type RunningVariance = "population" | "sample";

/** What a program is built for. */
export interface ProgramOptions {
  readonly batch: number;
  readonly optimizer: Optimizer;
  /** Values whose gradient norm each step reports. */
  readonly watch: readonly ValueName[];
  /** Seeds what random layers drop. Default 1. */
  readonly seed?: number;
  /** Channels in a block of the runtime's layout; left out: everything runs plain (passes/blocked). */
  readonly block?: number | undefined;
  /** Whether products may be the runtime's own ops (passes/fused-products). Default false. */
  readonly fusedProducts?: boolean;
  /**
   * Values between which the forward is computed a second time on the way back instead of being kept (passes/recompute).
   * Default none: everything is kept.
   */
  readonly keep?: readonly ValueName[] | undefined;
  /** Which variance of a batch the running one follows: ONNX has the population's, PyTorch the sample's. Default `population`. */
  readonly runningVariance?: RunningVariance | undefined;
  /** Microseconds of a step that blocks must gain by estimate, to be taken at all. Default 0. */
  readonly leastGainUs?: number | undefined;
}

/** A training step. Inputs and outputs of the graph have the names in `ports`. */
export interface Program {
  readonly graph: Graph;
  readonly parameters: Layout;
  readonly statistics: Layout;
  readonly watch: readonly ValueName[];
}

/** Names of the inputs of a training graph; `….next` are the outputs of the same state. */
export const ports = {
  parameters: "parameters",
  momentum: "momentum",
  statistics: "statistics",
  rate: "rate",
  /** The number of the step, int64; only where random layers depend on it. */
  step: "step",
  label: "label",
  loss: "loss",
  norms: "gradient_norms",
  next: (name: string): string => `${name}.next`,
} as const;

/**
 * The training step of an inference graph with one output of class scores `[N, C]`, for cross-entropy.
 * Float initializers that reach the loss are trained; running statistics follow the batches.
 */
export function trainingProgram(inference: Graph, options: ProgramOptions): Program {
  const fixed = inferShapes(inference, new Map([["N", options.batch]]));
  const form = trainingMode(fixed, { seed: options.seed ?? 1, step: ports.step });
  const typed = inferShapes(form.graph);
  const laidOut = inLayout(withLoss(typed, options.batch), options);
  const { blocked, watch, keep } = laidOut;
  const statistics = layoutOf(inference, [...form.statistics.keys()]);
  const parameters = layoutOf(inference, trainable(inference, form.statistics), blocked);
  const names = parameters.slots.map((slot) => slot.name);
  const { graph: whole, gradients } = differentiate(laidOut.graph, {
    loss: ports.loss,
    wrt: [...new Set([...names, ...watch, ...keep])],
  });
  const kept = keep.map((name) => [name, gradients.get(name) ?? ""] as const);
  const { graph } = recompute(whole, segmentsBetween(whole, new Map(kept)));
  const builder = startFrom(graph, [parameters, statistics]);
  unpack(builder, ports.parameters, parameters);
  if (statistics.count > 0) unpack(builder, ports.statistics, statistics);
  for (const node of graph.nodes) builder.append(node);
  const nexts = statistics.slots.map(({ name }) => form.statistics.get(name) ?? "");
  if (statistics.count > 0 && options.runningVariance === "sample") {
    sampled(builder, pack(builder, nexts, "population"), sampleShares(typed, statistics));
  } else if (statistics.count > 0) pack(builder, nexts, ports.next(ports.statistics));
  const flat = pack(
    builder,
    names.map((name) => gradients.get(name) ?? ""),
    "gradient",
  );
  update(builder, flat, parameters, options.optimizer);
  norms(
    builder,
    watch.map((name) => gradients.get(name) ?? ""),
  );
  for (const name of outputsOf(statistics, options.watch)) {
    builder.output({ name, dtype: "float32", shape: builder.typeOf(name)?.shape });
  }
  const plain = builder.finish(`${inference.name}.training`, inference.opsets);
  const fused = options.fusedProducts ? withFusedProducts(plain) : plain;
  return {
    graph: options.block === undefined ? fused : lowerBlocked(fused, options.block),
    parameters,
    statistics,
    watch: options.watch,
  };
}

/** The graph in the layout that was asked for, where its weights lie otherwise than plain, what to watch and to keep. */
function inLayout(
  graph: Graph,
  { block, leastGainUs, watch, keep = [] }: ProgramOptions,
): {
  graph: Graph;
  blocked: ReadonlyMap<ValueName, Blocks>;
  watch: readonly ValueName[];
  keep: readonly ValueName[];
} {
  if (block === undefined) return { graph, blocked: new Map(), watch, keep };
  const stay = new Set([...watch, ...keep]);
  const entered = enterBlocked(graph, { block, leastGainUs, keep: stay });
  const blocked = [...entered.weights].map(([name, form]) => [name, { form, block }] as const);
  // Zeros that fill a block up have no gradient: the norm is the same.
  const inside = (name: ValueName): ValueName => entered.inside.get(name) ?? name;
  const found = { watch: watch.map(inside), keep: keep.map(inside) };
  return { graph: entered.graph, blocked: new Map(blocked), ...found };
}

function outputsOf(statistics: Layout, watch: readonly ValueName[]): string[] {
  const names: string[] = [ports.loss, ports.next(ports.parameters), ports.next(ports.momentum)];
  if (statistics.count > 0) names.push(ports.next(ports.statistics));
  if (watch.length > 0) names.push(ports.norms);
  return names;
}

/** Matrices first, so that weight decay covers a prefix of the flat vector. */
function trainable(graph: Graph, statistics: ReadonlyMap<ValueName, ValueName>): ValueName[] {
  const weights = [...graph.initializers].filter(
    ([name, ref]) => ref.dtype === "float32" && ref.shape.length > 0 && !statistics.has(name),
  );
  const matrices = weights.filter(([, ref]) => ref.shape.length > 1);
  const vectors = weights.filter(([, ref]) => ref.shape.length <= 1);
  return [...matrices, ...vectors].map(([name]) => name);
}

function withLoss(graph: Graph, batch: number): Graph {
  const builder = new TypedBuilder(graph);
  const label = builder.input(ports.label, "int64", [batch]);
  const scores = graph.outputs[0]?.name ?? "";
  builder.emitAll("SoftmaxCrossEntropyLoss", [scores, label], {
    name: ports.loss,
    outputs: [ports.loss, "log_probability"],
  });
  builder.output({ name: ports.loss, dtype: "float32", shape: [] });
  return builder.finish(graph.name, graph.opsets);
}

/** A builder with the graph's inputs and constants, the state as further inputs, and no nodes yet. */
function startFrom(graph: Graph, layouts: readonly Layout[]): TypedBuilder {
  const moved = new Set(layouts.flatMap((layout) => layout.slots.map((slot) => slot.name)));
  const initializers = new Map([...graph.initializers].filter(([name]) => !moved.has(name)));
  const builder = new TypedBuilder({ ...graph, nodes: [], initializers });
  const [parameters, statistics] = layouts;
  const count = parameters?.count ?? 0;
  builder.input(ports.parameters, "float32", [count]);
  builder.input(ports.momentum, "float32", [count]);
  if (statistics !== undefined && statistics.count > 0) {
    builder.input(ports.statistics, "float32", [statistics.count]);
  }
  builder.input(ports.rate, "float32", []);
  return builder;
}

/** Splits a flat vector into the weights of a layout, under their own names. */
function unpack(builder: TypedBuilder, flat: ValueName, layout: Layout): void {
  const sizes = layout.slots.map((slot) => slot.count);
  const pieces = layout.slots.map(({ name, shape }) =>
    shape.length === 1 ? name : `${name}.flat`,
  );
  const split = builder.constant(int64([sizes.length], sizes), "sizes");
  builder.emitAll("Split", [flat, split], {
    name: `unpack.${flat}`,
    outputs: pieces,
    attributes: { axis: int(0) },
  });
  for (const [i, { name, shape }] of layout.slots.entries()) {
    if (shape.length === 1) continue;
    const target = builder.constant(int64([shape.length], shape), "shape");
    builder.emit("Reshape", [pieces[i] ?? "", target], {
      name: `shape.${name}`,
      outputs: [name],
    });
  }
}

/** Joins values of any shape to one flat vector. */
function pack(builder: TypedBuilder, values: readonly ValueName[], name: string): ValueName {
  const all = builder.constant(int64([1], [-1]), "flat");
  const pieces = values.map((value) =>
    builder.typeOf(value)?.shape?.length === 1 ? value : builder.emit("Reshape", [value, all]),
  );
  return builder.emit("Concat", pieces, { name, outputs: [name], attributes: { axis: int(0) } });
}

/** What sample variances make of a flat vector of statistics: next·factor + old·rest. */
interface SampleShares {
  readonly factor: Float32Array;
  readonly rest: Float32Array;
}

/**
 * ONNX has next = m·old + (1 - m)·v with the variance v of the population (BatchNormalization-15); that of the sample is
 * f·v with f = n / (n - 1), and m·old + f·(next - m·old) = f·next + m·(1 - f)·old. Means stay as they are, and so do
 * variances of one value, which no sample has, and of several norms together.
 */
function sampleShares(graph: Graph, statistics: Layout): SampleShares {
  const factor = new Float32Array(statistics.count).fill(1);
  const rest = new Float32Array(statistics.count);
  for (const { name, offset, count } of statistics.slots) {
    const norms = graph.nodes.filter(
      (node) => node.op === "BatchNormalization" && node.inputs[4] === name,
    );
    const [norm] = norms;
    if (norm === undefined || norms.length > 1) continue;
    const values = (elementCount(typeOf(graph, norm.inputs[0] ?? "")?.shape) ?? 0) / count;
    if (values <= 1) continue;
    factor.fill(values / (values - 1), offset, offset + count);
    rest.fill(-floatAttribute(norm, "momentum", 0.9) / (values - 1), offset, offset + count);
  }
  return { factor, rest };
}

function sampled(builder: TypedBuilder, next: ValueName, { factor, rest }: SampleShares): void {
  const times = (flat: ValueName, by: Float32Array): ValueName =>
    builder.emit("Mul", [flat, builder.constant(float32([by.length], by), "sample")]);
  builder.emit("Add", [times(next, factor), times(ports.statistics, rest)], {
    name: "statistics_step",
    outputs: [ports.next(ports.statistics)],
  });
}

/** v ← momentum·v + g + decay·w; w ← w - rate·v (see nn/optimizer). */
function update(
  builder: TypedBuilder,
  gradient: ValueName,
  layout: Layout,
  optimizer: Optimizer,
): void {
  const parameters = ports.parameters;
  let pull = gradient;
  if (optimizer.weightDecay > 0) {
    const shares = new Float32Array(layout.count);
    for (const { shape, offset, count } of layout.slots) {
      if (shape.length > 1) shares.fill(optimizer.weightDecay, offset, offset + count);
    }
    const decay = builder.constant(float32([layout.count], shares), "weight_decay");
    pull = builder.emit("Add", [gradient, builder.emit("Mul", [parameters, decay])]);
  }
  const kept = builder.emit("Mul", [
    ports.momentum,
    builder.constant(scalar(optimizer.momentum), "kept"),
  ]);
  const velocity = builder.emit("Add", [kept, pull], {
    name: "momentum_step",
    outputs: [ports.next(ports.momentum)],
  });
  builder.emit("Sub", [parameters, builder.emit("Mul", [velocity, ports.rate])], {
    name: "parameter_step",
    outputs: [ports.next(parameters)],
  });
}

/** ‖∂loss/∂x‖ of each watched value, in one vector. */
function norms(builder: TypedBuilder, gradients: readonly ValueName[]): void {
  if (gradients.length === 0) return;
  const squares = gradients.map((gradient) => {
    const axes = (builder.typeOf(gradient)?.shape ?? []).map((_, axis) => axis);
    const total = builder.emit(
      "ReduceSumSquare",
      [gradient, builder.constant(int64([axes.length], axes), "axes")],
      { attributes: { keepdims: int(0) } },
    );
    return builder.emit("Reshape", [total, builder.constant(int64([1], [1]), "one_element")]);
  });
  const joined = builder.emit("Concat", squares, { attributes: { axis: int(0) } });
  builder.emit("Sqrt", [joined], { name: ports.norms, outputs: [ports.norms] });
}
