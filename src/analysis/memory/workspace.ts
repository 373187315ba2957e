// Memory that kernels of ONNX Runtime take for themselves while they run, on one thread.

import type { Graph, Node } from "../../graph/graph.ts";
import { intAttribute, intsAttribute } from "../../graph/graph.ts";
import { typeOf } from "../../graph/query.ts";
import { isStatic } from "../../graph/shape.ts";
import { valueBytes } from "../../ops/rules.ts";

const FLOAT = 4;

/** Bytes that the kernel of a node takes beside its operands and outputs; 0 where nothing is known. */
export function workspaceBytes(graph: Graph, node: Node): number {
  switch (node.op) {
    case "Conv":
    case "FusedConv":
      return convolution(graph, node);
    case "ConvTranspose":
      return transposed(graph, node);
    case "BiasGelu":
      // Half of the sum of input and bias is kept for the end (contrib_ops/cpu/bert/bias_gelu.cc).
      return valueBytes(typeOf(graph, node.inputs[0] ?? "")) ?? 0;
    default:
      return 0;
  }
}

/**
 * A convolution with more filters than pixels is one product with all patches of an image written out; any
 * other goes by segments of 64 KiB, and a pointwise one needs no patches (core/mlas/lib/convolve.cpp).
 */
function convolution(graph: Graph, node: Node): number {
  const [filters, patch, ...kernel] = shapeOf(graph, node, 1);
  const pixels = product(shapeOf(graph, node, "out").slice(2));
  if (filters === undefined || patch === undefined) return 0;
  const plain = (name: string, value: number): boolean =>
    (intsAttribute(node, name) ?? []).every((one) => one === value);
  const pointwise = kernel.every((one) => one === 1) && plain("strides", 1) && plain("pads", 0);
  const inGroup = filters / intAttribute(node, "group", 1);
  return pointwise || inGroup <= pixels ? 0 : FLOAT * pixels * patch * product(kernel);
}

/** The patches that one image is spread to before they are added up (core/providers/cpu/nn/conv_transpose.cc). */
function transposed(graph: Graph, node: Node): number {
  const [, filters, ...kernel] = shapeOf(graph, node, 1);
  const pixels = product(shapeOf(graph, node, 0).slice(2));
  return filters === undefined ? 0 : FLOAT * filters * product(kernel) * pixels;
}

/** The shape of an input or of the first output; empty where it is not known. */
function shapeOf(graph: Graph, node: Node, at: number | "out"): readonly number[] {
  const name = (at === "out" ? node.outputs[0] : node.inputs[at]) ?? "";
  const shape = typeOf(graph, name)?.shape;
  return isStatic(shape) ? shape : [];
}

function product(sizes: readonly number[]): number {
  return sizes.reduce((a, b) => a * b, 1);
}
