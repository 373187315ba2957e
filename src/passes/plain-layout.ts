// The blocked layout that ONNX Runtime gives convolutions for one processor (domain com.microsoft.nchwc, in
// files that were saved at its highest optimization level), as plain ops again. Channels are filled up to
// whole blocks of B there, and the elements of a weight stand in another order than its shape says:
// [O/B, I/B, h, w, B of I, B of O], or [O/B, I, h, w, B of O] where the input has less than one block of
// channels, or one for each group (onnxruntime, core/optimizer/nchwc_transformer.cc and
// core/mlas/lib/reorder.cpp). Weights stay as they are, and nodes bring them into order: gradients are of
// the weights of the file.

import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import type { Attribute, Graph, Node, ValueName } from "../graph/graph.ts";
import { intAttribute, intsAttribute, string, stringAttribute } from "../graph/graph.ts";
import { isStatic } from "../graph/shape.ts";
import { float32 } from "../graph/tensor.ts";
import { clipName } from "../graph/verify.ts";
import { padAlong, shapeConstant, transpose } from "../ops/construct.ts";

const DOMAIN = "com.microsoft.nchwc";

/** Whether a graph has nodes in the blocked layout. */
export function hasBlockedLayout(graph: Graph): boolean {
  return graph.nodes.some((node) => node.domain === DOMAIN);
}

/**
 * The graph with plain ops for those of the blocked layout; the same graph if there is none. A convolution
 * with a sum or an activation becomes the runtime's FusedConv.
 *
 * @param block Channels in a block on the machine that the file was made for: 8 or 16. Files do not say it.
 * @throws SkipwayError `input` for a node that cannot be in that layout.
 */
export function withPlainLayout(graph: Graph, block: number): Graph {
  if (!hasBlockedLayout(graph)) return graph;
  const builder = new TypedBuilder({ ...graph, nodes: [] });
  builder.reserve(graph.nodes);
  const writer = new PlainWriter(builder, block);
  for (const node of graph.nodes) {
    if (node.domain === DOMAIN) writer.write(node);
    else builder.append(node);
  }
  for (const output of graph.outputs) builder.output(output);
  const opsets = new Map(graph.opsets);
  opsets.delete(DOMAIN);
  opsets.set("com.microsoft", opsets.get("com.microsoft") ?? 1);
  return builder.finish(graph.name, opsets, graph.metadata);
}

const POOLS = new Set(["MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"]);

class PlainWriter {
  readonly #builder: TypedBuilder;
  readonly #block: number;
  /** Weights that were brought into order. */
  readonly #ordered = new Map<ValueName, ValueName>();

  constructor(builder: TypedBuilder, block: number) {
    this.#builder = builder;
    this.#block = block;
  }

  write(node: Node): void {
    if (POOLS.has(node.op)) this.#builder.append({ ...node, domain: "" });
    else if (node.op === "Conv") this.#conv(node);
    else if (node.op === "ReorderInput") this.#into(node);
    else if (node.op === "ReorderOutput") this.#outOf(node);
    else if (node.op === "Upsample") this.#upsample(node);
    else throw misfit(node, "is no op of the blocked layout that skipway knows");
  }

  #conv(node: Node): void {
    const [x = "", w = "", ...more] = node.inputs;
    const inputs = [x, this.#weight(node, w), ...more];
    const fused = node.attributes.has("activation") || (node.inputs[3] ?? "") !== "";
    if (fused) {
      this.#builder.append({ ...node, op: "FusedConv", domain: "com.microsoft", inputs });
      return;
    }
    this.#builder.append({ ...node, domain: "", inputs });
  }

  #weight(node: Node, w: ValueName): ValueName {
    const known = this.#ordered.get(w);
    if (known !== undefined) return known;
    const b = this.#block;
    const shape = this.#builder.typeOf(w)?.shape;
    if (!isStatic(shape) || shape.length !== 4) {
      throw misfit(node, `has a weight "${clipName(w)}" that is no filter of four sizes`);
    }
    const [o = 0, i = 0, height = 0, width = 0] = shape;
    const alone = intAttribute(node, "group", 1) > 1 ? i === 1 : i < b;
    if (o % b !== 0 || (!alone && i % b !== 0)) {
      throw misfit(node, `has a weight "${clipName(w)}" of ${o} times ${i} channels`);
    }
    const stored = alone ? [o / b, i, height, width, b] : [o / b, i / b, height, width, b, b];
    const order = alone ? [0, 4, 1, 2, 3] : [0, 5, 1, 4, 2, 3];
    const blocks = this.#builder.emit("Reshape", [w, shapeConstant(this.#builder, stored)]);
    const turned = transpose(this.#builder, blocks, order);
    const plain = this.#builder.emit("Reshape", [turned, shapeConstant(this.#builder, shape)]);
    this.#ordered.set(w, plain);
    return plain;
  }

  /** Channels are filled up to a whole block; the last axis may hold them. */
  #into(node: Node): void {
    const [given = ""] = node.inputs;
    const last = intAttribute(node, "channels_last", 0) !== 0;
    const x = last ? transpose(this.#builder, given, [0, 3, 1, 2]) : given;
    const channels = this.#builder.typeOf(x)?.shape?.[1];
    if (typeof channels !== "number") {
      throw misfit(node, `reads "${clipName(given)}", whose channels are not known`);
    }
    const missing = Math.ceil(channels / this.#block) * this.#block - channels;
    this.#result(node, missing === 0 ? x : padAlong(this.#builder, x, [1], [0, missing]));
  }

  #outOf(node: Node): void {
    const [x = ""] = node.inputs;
    const channels = intAttribute(node, "channels", 0);
    const list = (value: number): ValueName => shapeConstant(this.#builder, [value]);
    const cut =
      channels % this.#block === 0
        ? x
        : this.#builder.emit("Slice", [x, list(0), list(channels), list(1)]);
    const last = intAttribute(node, "channels_last", 0) !== 0;
    this.#result(node, last ? transpose(this.#builder, cut, [0, 2, 3, 1]) : cut);
  }

  #upsample(node: Node): void {
    const scales = intsAttribute(node, "scales") ?? [];
    const list = this.#builder.constant(float32([scales.length], scales), "scales");
    const places = stringAttribute(node, "coordinate_transformation_mode", "asymmetric");
    const attributes: Record<string, Attribute> = {
      mode: string(stringAttribute(node, "mode", "nearest")),
      coordinate_transformation_mode: string(places),
      nearest_mode: string("floor"),
    };
    this.#builder.emit("Resize", [node.inputs[0] ?? "", "", list], {
      ...{ name: `${node.name}/plain`, outputs: node.outputs, attributes },
    });
  }

  /** Under the name that the result of a node has. */
  #result(node: Node, value: ValueName): void {
    this.#builder.emit("Identity", [value], {
      ...{ name: `${node.name}/plain`, outputs: node.outputs },
    });
  }
}

function misfit(node: Node, text: string): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "layout/blocked",
      severity: "error",
      where: `node ${clipName(node.name)} (${DOMAIN}.${clipName(node.op)})`,
      text,
      notes: ["the file is laid out for one processor, and blocks of another size fit it no more"],
      fix: "Use the model before ONNX Runtime optimized it, or save it at the level extended.",
    }),
  ]);
}
