// Pairs of QuantizeLinear and DequantizeLinear, in the places where a runtime computes in integers: before
// the operands of products, of sums of branches and of concatenations. Values are rounded to the grid of
// their range (affine, 8 bits: Jacob et al. 2018, equation 1), weights to one of each output channel.

import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { inlineFunctions } from "../canonical/inline.ts";
import { type EmitOptions, GraphBuilder } from "../graph/build.ts";
import { type Graph, int, intAttribute, type Node, type ValueName } from "../graph/graph.ts";
import { typeOf } from "../graph/query.ts";
import { sameShape } from "../graph/shape.ts";
import { bytesOf, float32, float32Values, hasBytes, type Tensor, tensor } from "../graph/tensor.ts";

/** Scales along an axis of DequantizeLinear are of operator set 13. */
const OPSET_MIN = 13;

/** The smallest and the largest of a value's elements. */
export interface Range {
  readonly min: number;
  readonly max: number;
}

/** To what values are rounded. */
export interface QuantizeOptions {
  /** Default `uint8`. */
  readonly activations?: "uint8" | "int8";
  /**
   * Default 7, with which a file gives the same numbers everywhere. Processors without an instruction for
   * products of bytes (x86 before VNNI) add two products in 16 bits, which saturate with weights of 8 bits:
   * 2·255·127 is more than 32,767 (ONNX Runtime's guide to quantization calls 7 bits `reduce_range`).
   */
  readonly weightBits?: 7 | 8;
}

/** Which values are rounded. */
export interface QuantizationPlan {
  /** The graph that the names are of: functions stand in the place of their calls. */
  readonly graph: Graph;
  /** Values of one scale each: the operands of a concatenation, and what it gives, share theirs. */
  readonly groups: readonly (readonly ValueName[])[];
  /** Where those are read rounded, as `node position`. */
  readonly operands: ReadonlySet<string>;
}

/**
 * The values that are worth rounding. Graphs in the bodies of control flow are left as they are.
 *
 * @throws SkipwayError `input` for operator sets that have no scales along an axis.
 */
export function planQuantization(given: Graph): QuantizationPlan {
  const graph = inferShapes(inlineFunctions(given));
  const opset = graph.opsets.get("") ?? 0;
  if (opset < OPSET_MIN) throw tooOld(opset);
  const activations = activationsOf(graph);
  const groups = new Groups();
  const operands = new Set<string>();
  const joins: (readonly ValueName[])[] = [];
  for (const node of graph.nodes) {
    const read = operandsOf(graph, node, activations);
    for (const position of read) {
      operands.add(operandKey(node, position));
      groups.add(node.inputs[position] ?? "");
    }
    if (node.op === "Concat" && read.length > 0) {
      joins.push([...read.map((position) => node.inputs[position] ?? ""), ...node.outputs]);
    }
  }
  for (const names of joins) groups.join(names.filter((name) => groups.has(name)));
  return { graph, groups: groups.all(), operands };
}

function operandKey(node: Node, position: number): string {
  return `${node.name} ${position}`;
}

/** Float values that depend on an input of the graph. */
function activationsOf(graph: Graph): ReadonlySet<ValueName> {
  const reached = new Set(graph.inputs.map(({ name }) => name));
  for (const name of graph.initializers.keys()) reached.delete(name);
  for (const node of graph.nodes) {
    if (node.inputs.some((name) => reached.has(name)))
      for (const name of node.outputs) reached.add(name);
  }
  return new Set([...reached].filter((name) => typeOf(graph, name)?.dtype === "float32"));
}

/** Positions of the operands that a runtime would take as integers. */
function operandsOf(graph: Graph, node: Node, activations: ReadonlySet<ValueName>): number[] {
  if (node.domain !== "") return [];
  const flowing = node.inputs.flatMap((name, i) => (activations.has(name) ? [i] : []));
  switch (node.op) {
    case "Conv":
    case "ConvTranspose":
    case "Gemm":
    case "MatMul":
      return flowing.filter((position) => position < 2);
    case "Add":
    case "Sum":
      // Of one shape: a mask or a bias that is computed is no branch.
      return flowing.length > 1 && haveOneShape(graph, node) ? flowing : [];
    case "Concat":
      return flowing;
    default:
      return [];
  }
}

function haveOneShape(graph: Graph, { inputs }: Node): boolean {
  const [first, ...others] = inputs.map((name) => typeOf(graph, name)?.shape);
  return others.every((shape) => sameShape(first, shape));
}

/** Sets of names that grow together. */
class Groups {
  readonly #of = new Map<ValueName, Set<ValueName>>();

  has(name: ValueName): boolean {
    return this.#of.has(name);
  }

  add(name: ValueName): void {
    if (!this.#of.has(name)) this.#of.set(name, new Set([name]));
  }

  join(names: readonly ValueName[]): void {
    const whole = new Set(names.flatMap((name) => [...(this.#of.get(name) ?? [])]));
    for (const name of whole) this.#of.set(name, whole);
  }

  all(): ValueName[][] {
    return [...new Set(this.#of.values())].map((group) => [...group]);
  }
}

/**
 * The graph with its activations rounded to 8 bits, one scale for each group of the plan, and its weights
 * kept as int8, one scale for each output channel. A group without a finite range stays as it is.
 */
export function withQuantizePairs(
  plan: QuantizationPlan,
  ranges: ReadonlyMap<ValueName, Range>,
  options: QuantizeOptions = {},
): Graph {
  const { graph } = plan;
  const rounding = new Rounding(plan, ranges, options);
  const nodes = graph.inputs.flatMap(({ name }) => rounding.pair(name));
  for (const node of graph.nodes) {
    nodes.push(...rounding.weight(node), rounding.reads(node));
    for (const name of node.outputs) nodes.push(...rounding.pair(name));
  }
  const used = new Set(nodes.flatMap((node) => node.inputs));
  for (const { name } of graph.outputs) used.add(name);
  const initializers = new Map(
    [...graph.initializers, ...rounding.constants].filter(
      ([name]) => !rounding.replaced.has(name) || used.has(name),
    ),
  );
  return { ...graph, nodes, initializers };
}

class Rounding {
  readonly constants = new Map<ValueName, Tensor>();
  /** Weights that may have lost their last reader. */
  readonly replaced = new Set<ValueName>();
  readonly #plan: QuantizationPlan;
  readonly #type: "uint8" | "int8";
  readonly #largestWeight: number;
  /** Makes nodes with names that are free. */
  readonly #builder: GraphBuilder;
  readonly #grids = new Map<ValueName, { scale: ValueName; zero: ValueName }>();
  /** What is read in the place of a value, and of a weight along an axis. */
  readonly #rounded = new Map<string, ValueName>();

  constructor(
    plan: QuantizationPlan,
    ranges: ReadonlyMap<ValueName, Range>,
    options: QuantizeOptions,
  ) {
    const { activations = "uint8", weightBits = 7 } = options;
    this.#plan = plan;
    this.#type = activations;
    this.#largestWeight = weightBits === 7 ? 63 : 127;
    this.#builder = new GraphBuilder(plan.graph);
    for (const group of plan.groups) {
      const found = rangeOf(group.map((name) => ranges.get(name)));
      if (found === undefined) continue;
      const grid = this.#grid(group[0] ?? "", found);
      for (const name of group) this.#grids.set(name, grid);
    }
  }

  #constant(stem: string, value: Tensor): ValueName {
    const name = this.#builder.initializer(this.#builder.unique(stem), value);
    this.constants.set(name, value);
    return name;
  }

  /** Zero is on the grid: padding adds it. */
  #grid(stem: ValueName, range: Range): { scale: ValueName; zero: ValueName } {
    const [min, max] = [Math.min(range.min, 0), Math.max(range.max, 0)];
    const scale = Math.fround((max - min) / 255) || 1;
    const lowest = this.#type === "uint8" ? 0 : -128;
    const zero = Math.min(255, Math.max(0, Math.round(-min / scale))) + lowest;
    return {
      scale: this.#constant(`${stem}.scale`, float32([], [scale])),
      zero: this.#constant(`${stem}.zero_point`, tensor(this.#type, [], Uint8Array.of(zero))),
    };
  }

  /** The two nodes that round a value, if it is to be rounded. */
  pair(name: ValueName): Node[] {
    const grid = this.#grids.get(name);
    if (grid === undefined) return [];
    const emit = (op: string, input: ValueName, as: string): Node =>
      this.#builder.emit(op, [input, grid.scale, grid.zero], { name: `${name}.${as}` });
    const quantize = emit("QuantizeLinear", name, "quantize");
    const back = emit("DequantizeLinear", quantize.outputs[0] ?? "", "dequantize");
    this.#rounded.set(name, back.outputs[0] ?? "");
    return [quantize, back];
  }

  /** The node that brings the weight of a product back from int8, where it has not been made yet. */
  weight(node: Node): Node[] {
    const axis = channelAxis(node);
    const [, name = ""] = node.inputs;
    const ref = this.#plan.graph.initializers.get(name);
    if (axis === undefined || ref === undefined || this.#rounded.has(`${name} ${axis}`)) return [];
    if (ref.dtype !== "float32" || !hasBytes(ref) || ref.shape.length < 2) return [];
    const { values, scales } = roundedByChannel(ref, axis, this.#largestWeight);
    const inputs = [
      this.#constant(`${name}.quantized`, values),
      this.#constant(`${name}.scale`, scales),
    ];
    const options: EmitOptions = { name: `${name}.dequantize`, attributes: { axis: int(axis) } };
    const back = this.#builder.emit("DequantizeLinear", inputs, options);
    this.#rounded.set(`${name} ${axis}`, back.outputs[0] ?? "");
    this.replaced.add(name);
    return [back];
  }

  /** The node with rounded operands. */
  reads(node: Node): Node {
    const axis = channelAxis(node);
    const inputs = node.inputs.map((name, position) => {
      const isWeight = axis !== undefined && position === 1;
      const weight = isWeight ? this.#rounded.get(`${name} ${axis}`) : undefined;
      if (weight !== undefined) return weight;
      const isOperand = this.#plan.operands.has(operandKey(node, position));
      return (isOperand ? this.#rounded.get(name) : undefined) ?? name;
    });
    return inputs.every((name, i) => name === node.inputs[i]) ? node : { ...node, inputs };
  }
}

/** Of all; undefined where one is missing or not finite. */
function rangeOf(ranges: readonly (Range | undefined)[]): Range | undefined {
  let [min, max] = [0, 0];
  for (const range of ranges) {
    if (range === undefined || !Number.isFinite(range.max - range.min)) return undefined;
    [min, max] = [Math.min(min, range.min), Math.max(max, range.max)];
  }
  return { min, max };
}

/** The axis of a product's weight that its output channels lie on. */
function channelAxis(node: Node): number | undefined {
  if (node.domain !== "") return undefined;
  switch (node.op) {
    case "Conv":
      return 0;
    case "ConvTranspose":
      return 1;
    case "Gemm":
      return intAttribute(node, "transB", 0) === 0 ? 1 : 0;
    case "MatMul":
      return -1;
    default:
      return undefined;
  }
}

/** Symmetric, so that zero is zero and no sign is wider than the other. */
function roundedByChannel(
  ref: Tensor,
  axis: number,
  steps: number,
): { values: Tensor; scales: Tensor } {
  const along = axis < 0 ? axis + ref.shape.length : axis;
  const channels = ref.shape[along] ?? 1;
  const inner = ref.shape.slice(along + 1).reduce((a, b) => a * b, 1);
  const weights = float32Values(ref);
  const largest = new Float32Array(channels);
  const channelOf = (i: number): number => Math.floor(i / inner) % channels;
  for (const [i, value] of weights.entries()) {
    const channel = channelOf(i);
    largest[channel] = Math.max(largest[channel] ?? 0, Math.abs(value));
  }
  const scales = largest.map((one) => Math.fround(one / steps) || 1);
  const values = new Int8Array(weights.length);
  for (const [i, value] of weights.entries()) {
    values[i] = Math.round(value / (scales[channelOf(i)] ?? 1));
  }
  return {
    values: tensor("int8", ref.shape, bytesOf(values)),
    scales: float32([channels], scales),
  };
}

function tooOld(opset: number): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "quantize/opset",
      severity: "error",
      where: "graph",
      text: `is of operator set ${opset}; scales for each channel need ${OPSET_MIN}`,
      fix: `Export the model again with opset_version=${OPSET_MIN} or later.`,
    }),
  ]);
}
