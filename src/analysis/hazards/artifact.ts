// What a file carries without need: weights twice or for nobody, numbers that one op could make, what
// training and debugging left behind.

import { diagnostic } from "../../base/diagnostic.ts";
import { formatBytes } from "../../base/format.ts";
import { inlineFunctions } from "../../canonical/inline.ts";
import { dtypeBytes } from "../../graph/dtype.ts";
import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { usesOf } from "../../graph/query.ts";
import { elementCount } from "../../graph/shape.ts";
import { hasBytes, type Tensor, type TensorRef } from "../../graph/tensor.ts";
import { weightsBytes } from "../memory.ts";
import { roleOf } from "../skips/vocabulary.ts";
import { type Part, partsOf, readIn, type Stored, storedIn, storedPlace } from "./parts.ts";
import type { Rule } from "./rule.ts";

/** Shares of all weight bytes from which on it is worth telling; below, it is norms and biases. */
const DUPLICATE_SHARE = 0.05;
const FILLED_SHARE = 0.1;
/** Of what is said about nodes, against the weights; and no less than this, in bytes. */
const REMARKS_SHARE = 0.2;
const REMARKS_MIN = 512;
/** Fewer equal elements are not worth an op; vectors are the biases and gains of new models. */
const FILLED_ELEMENTS = 64;

const bytesOf = ({ dtype, shape }: TensorRef): number =>
  dtypeBytes(dtype, elementCount(shape) ?? 0);

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);

/** The same weight under several names: exporters write a shared weight once for each use. */
export const duplicateWeights: Rule = {
  id: "artifact/duplicate-weights",
  title: "the same weight is stored more than once",
  check: ({ graph }) => {
    const groups = new Map<string, [ValueName, Tensor][]>();
    const stored = storedIn(graph);
    for (const { name, ref } of stored) {
      // Vectors are the biases and gains of norms: small, and all alike before training.
      if (!hasBytes(ref) || ref.shape.length < 2) continue;
      const key = `${ref.dtype}[${ref.shape}] ${hashOf(ref.data.bytes)}`;
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [[name, ref]]);
      // Two tensors that share a hash by chance are told apart here.
      else if (sameBytes(group[0]?.[1].data.bytes, ref.data.bytes)) group.push([name, ref]);
    }
    const repeated = [...groups.values()].filter(({ length }) => length > 1);
    const wasted = sum(repeated.flatMap((group) => group.slice(1).map(([, ref]) => bytesOf(ref))));
    if (wasted === 0 || wasted < DUPLICATE_SHARE * bytesOfAll(stored)) return [];
    const [largest = []] = repeated.toSorted((a, b) => wasteOf(b) - wasteOf(a));
    return [
      diagnostic({
        id: "artifact/duplicate-weights",
        severity: "info",
        where: `weight ${largest[0]?.[0]}`,
        text: `${formatBytes(wasted)} of weights are stored again under other names; most of this one, ${largest.length} times`,
        fix: "Let all uses read one initializer.",
      }),
    ];
  },
};

function bytesOfAll(stored: readonly Stored[]): number {
  return sum(stored.map(({ ref }) => bytesOf(ref)));
}

function wasteOf(group: readonly (readonly [ValueName, TensorRef])[]): number {
  return sum(group.slice(1).map(([, ref]) => bytesOf(ref)));
}

/** FNV-1a over a thousand bytes from all parts: sorts tensors into groups that are then compared. */
function hashOf(bytes: Uint8Array): number {
  // An odd step meets every byte of an element.
  const step = 2 * Math.floor(bytes.length / 2048) + 1;
  let hash = 0x811c9dc5;
  for (let i = 0; i < bytes.length; i += step) hash = Math.imul(hash ^ (bytes[i] ?? 0), 0x01000193);
  return hash;
}

function sameBytes(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a?.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** Weights and nodes whose values nobody reads: they are loaded, or computed, in vain. */
export const unused: Rule = {
  id: "artifact/unused",
  title: "weights or nodes that nothing reads",
  check: ({ graph }) => {
    // A weight that a call hands in is read only if the function reads it.
    const weights = partsOf(inlineFunctions(graph)).flatMap(idleWeights);
    const nodes = partsOf(graph).flatMap(idleNodes);
    const [where] = [...weights, ...nodes].map((one) => one.where);
    if (where === undefined) return [];
    const bytes = formatBytes(sum(weights.map((one) => one.bytes)));
    const what = [
      weights.length === 0 ? [] : `${counted(weights.length, "weight")} (${bytes})`,
      nodes.length === 0 ? [] : counted(nodes.length, "node"),
    ].flat();
    return [
      diagnostic({
        id: "artifact/unused",
        severity: "info",
        where,
        text: `nothing reads ${what.join(" and ")}`,
        fix: "Remove them; no answer changes.",
      }),
    ];
  },
};

function idleWeights(part: Part): { where: string; bytes: number }[] {
  const read = readIn(part);
  return [...part.initializers]
    .filter(([name]) => !read.has(name))
    .map(([name, ref]) => ({ where: `weight ${name}`, bytes: bytesOf(ref) }));
}

function idleNodes(part: Part): { where: string }[] {
  const read = readIn(part);
  return part.nodes
    .filter((node) => !node.outputs.some((name) => read.has(name)))
    .map((node) => ({ where: storedPlace(part, `node ${node.name}`) }));
}

function counted(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}

/** Large tensors of one number. */
export const filledWeights: Rule = {
  id: "artifact/filled-weights",
  title: "a large weight holds one number",
  check: ({ graph, run }) => {
    const stored = storedIn(graph);
    const ofLayers = layerWeights(new Set(stored.map(({ part }) => part)));
    const filled = stored.filter(
      ({ name, ref, part }) =>
        ref.shape.length > 1 &&
        !isLayerWeight(run, name) &&
        !ofLayers.get(part)?.has(name) &&
        (elementCount(ref.shape) ?? 0) >= FILLED_ELEMENTS &&
        hasBytes(ref) &&
        isFilled(ref),
    );
    const bytes = bytesOfAll(filled);
    const [first] = filled;
    if (first === undefined || bytes < FILLED_SHARE * bytesOfAll(stored)) return [];
    return [
      diagnostic({
        id: "artifact/filled-weights",
        severity: "info",
        where: storedPlace(first.part, `weight ${first.name}`),
        text: `${filled.length} weights hold one number all over, ${formatBytes(bytes)} in all`,
        fix: "Make them with ConstantOfShape or Expand, or let broadcasting do it with one number.",
      }),
    ];
  },
};

/** A layer whose weight is one number is another matter; in `run` no function hides the layer. */
function isLayerWeight(run: Graph, name: ValueName): boolean {
  return usesOf(run, name).some(({ node }) => isLayer(node));
}

/** What the layers of each part read. */
function layerWeights(parts: ReadonlySet<Part>): ReadonlyMap<Part, ReadonlySet<ValueName>> {
  return new Map(
    [...parts].map((part) => [
      part,
      new Set(part.nodes.filter(isLayer).flatMap(({ inputs }) => inputs)),
    ]),
  );
}

function isLayer(node: Node): boolean {
  return roleOf(node, 1) === "transform";
}

function isFilled({ dtype, shape, data: { bytes } }: Tensor): boolean {
  const size = bytes.length / Math.max(1, elementCount(shape) ?? 1);
  // Of packed types a byte holds several elements; their masks are seldom large.
  if (!Number.isInteger(size) || dtype === "string") return false;
  return bytes.every((byte, i) => byte === bytes[i % size]);
}

/** Losses, gradients and optimizers in a model that is to be run. */
export const trainingLeftovers: Rule = {
  id: "artifact/training-leftovers",
  title: "the model has parts that only training needs",
  check: ({ graph }) => {
    const found = partsOf(graph).flatMap((part) =>
      part.nodes.filter(isTraining).map((node) => ({ part, node })),
    );
    const [first] = found;
    if (first === undefined) return [];
    const ops = new Set(found.map(({ node }) => node.op));
    return [
      diagnostic({
        id: "artifact/training-leftovers",
        severity: "info",
        where: storedPlace(first.part, `node ${first.node.name}`),
        text: `parts for training, ${counted(found.length, "node")} (${[...ops].slice(0, 6).join(", ")}): no answer needs them`,
        fix: "Export the forward part alone.",
      }),
    ];
  },
};

const LOSSES = new Set(["SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"]);

function isTraining({ op, domain }: Node): boolean {
  if (domain === "") return LOSSES.has(op);
  return domain.endsWith(".training") || (domain === "com.microsoft" && op.endsWith("Grad"));
}

/** Documentation and metadata that weigh as much as a share of the weights. */
export const debugRemarks: Rule = {
  id: "artifact/debug-remarks",
  title: "metadata is a good part of the file",
  check: ({ graph }) => {
    const bytes = remarksBytes(graph);
    const weights = weightsBytes(graph);
    if (bytes < REMARKS_MIN || bytes < REMARKS_SHARE * weights) return [];
    return [
      diagnostic({
        id: "artifact/debug-remarks",
        severity: "info",
        where: "file",
        text: `documentation and metadata take ${formatBytes(bytes)}, the weights ${formatBytes(weights)}`,
        fix: "Export without stack traces and other notes, or remove them.",
      }),
    ];
  },
};

function remarksBytes(graph: Graph): number {
  let total = graph.remarks?.length ?? 0;
  for (const [key, value] of graph.metadata) total += key.length + value.length;
  for (const { nodes } of partsOf(graph)) {
    for (const node of nodes) total += node.remarks?.length ?? 0;
  }
  for (const value of graph.values.values()) total += value.remarks?.length ?? 0;
  return total;
}

/** ONNX Runtime promises to run operator set 7 and later ("ONNX Runtime compatibility", "ONNX opset support"). */
const OPSET_MIN = 7;

/** Operator sets that the runtime does not promise to run. */
export const oldOpset: Rule = {
  id: "artifact/old-opset",
  title: "the operator set is older than the runtime supports",
  check: ({ graph }) => {
    const declared = [graph, ...(graph.functions?.values() ?? [])].flatMap(
      ({ opsets }) => opsets.get("") ?? [],
    );
    const opset = Math.min(...declared);
    if (opset >= OPSET_MIN) return [];
    return [
      diagnostic({
        id: "artifact/old-opset",
        severity: "warning",
        where: "file",
        text: `the model is of operator set ${opset}; ONNX Runtime supports ${OPSET_MIN} and later, and fuses and quantizes best from 13 on`,
        fix: "Export again with a newer operator set, or convert the model with onnx.version_converter.",
      }),
    ];
  },
};
