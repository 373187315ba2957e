// One op, one object: what its outputs look like, how gradients flow back through it, what it costs
// and what its backward needs. The table in index.ts lists all; adding an op touches one file there.

import type { EmitOptions } from "../graph/build.ts";
import type { Attribute, Node, ValueName, ValueType } from "../graph/graph.ts";
import type { Dim } from "../graph/shape.ts";
import type { TensorRef } from "../graph/tensor.ts";
import type { KernelCosts } from "./kernel-costs.ts";

/** What a shape rule may look at: types and constants of the inputs, by position. */
export interface ShapeContext {
  readonly node: Node;
  /** Version of the node's operator set. */
  readonly opset: number;
  /** Type of input `i`; undefined if it is left out or unknown. */
  input(i: number): ValueType | undefined;
  /** Elements of an integer or small constant input `i`, where they are known. */
  constant(i: number): TensorRef | undefined;
  /** Entries of a list of integers, such as the target of a Reshape; they may be symbols. */
  entries(i: number): readonly Dim[] | undefined;
}

/** Types of the outputs, in order; undefined where unknown. Symbolic, and never wrong. */
export type ShapeRule = (context: ShapeContext) => readonly (ValueType | undefined)[];

/** Adds nodes to the graph under construction; types of what it makes are inferred at once. */
export interface Emitter {
  /** One node, first output. */
  emit(op: string, inputs: readonly ValueName[], options?: EmitOptions): ValueName;
  /** One node, all outputs. */
  emitAll(op: string, inputs: readonly ValueName[], options?: EmitOptions): readonly ValueName[];
  /** A constant, shared when the same one was asked for before. */
  constant(ref: TensorRef, stem?: string): ValueName;
  typeOf(name: ValueName): ValueType | undefined;
  constantOf(name: ValueName): TensorRef | undefined;
  /**
   * A graph for an attribute of a node that is still to be added, such as the body of a Scan. It sees the
   * values here.
   *
   * @param inputs Types of its inputs, whose ranks are known.
   * @param build Adds its nodes; gives its outputs.
   */
  bodyOf(
    name: string,
    inputs: readonly ValueType[],
    build: (body: Emitter, inputs: readonly ValueName[]) => readonly ValueName[],
  ): Attribute;
}

/** The node that is written in other ops, or differentiated, besides the emitter. */
export interface NodeContext extends Emitter {
  readonly node: Node;
  /** Version of the node's operator set. */
  readonly opset: number;
}

/** What a gradient rule may look at besides. */
export interface GradientContext extends NodeContext {
  /** Whether the gradient of input `i` is wanted; rules skip work for the others. */
  wants(i: number): boolean;
  /** What kernels take, for rules that choose among forms. */
  readonly costs: KernelCosts;
}

/**
 * The vector-Jacobian product: from the gradients of the outputs (undefined where an output does not
 * reach the loss) to the gradients of the inputs (undefined where not wanted or not differentiable).
 * Emits plain ONNX nodes only.
 */
export type GradientRule = (
  context: GradientContext,
  dy: readonly (ValueName | undefined)[],
) => readonly (ValueName | undefined)[];

/**
 * The op written in other ops, which have gradients: its outputs in order, undefined for one that is left
 * out. The gradient follows from theirs.
 */
export interface Decomposition {
  readonly decompose: (context: NodeContext) => readonly (ValueName | undefined)[];
}

/** Why no gradient flows through an op, as the end of a sentence: "because …". */
export interface Unsupported {
  readonly because: string;
}

/**
 * How a gradient flows back through an op. `zero`: piecewise constant or integer valued. `bodies`: through the
 * graphs in its attributes.
 */
export type Gradient = GradientRule | Decomposition | "zero" | "bodies" | Unsupported;

/** Arithmetic and traffic of one node. */
export interface Cost {
  /** Floating point operations; one multiply-add counts as two. */
  readonly flops: number;
  /** Bytes read and written. */
  readonly bytes: number;
}

/** Cost from static types of inputs and outputs; undefined where a shape is not static. */
export type CostRule = (
  node: Node,
  inputs: readonly (ValueType | undefined)[],
  outputs: readonly (ValueType | undefined)[],
) => Cost | undefined;

/** Which operands and results the backward of an op reads: what training keeps in memory. */
export interface SavedForBackward {
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
}

/** One op. */
export interface OpDef {
  readonly type: string;
  /** "" is the standard ONNX domain. */
  readonly domain: string;
  readonly shape: ShapeRule;
  /** The shape rule looks at sequences, optionals and maps too; left out, it sees tensors only. */
  readonly containers?: true;
  readonly gradient: Gradient;
  /**
   * Its integer results stand for real numbers, in steps of a scale: a gradient flows through them too, as of a
   * real number of steps.
   */
  readonly inSteps?: true;
  readonly cost: CostRule;
  readonly saves: SavedForBackward;
}
