// Nodes that do nothing when a network is only run: Identity, Dropout in inference, a Cast to the type that
// is there, a product with 1 (what Dropout leaves behind in some exports). Their readers read what they
// read, and stand for them too.

import type { Graph, Node, Original, ValueName } from "../../graph/graph.ts";
import { ownOriginals } from "../../graph/original.ts";
import { elementCount, type Shape, UNKNOWN_DIM } from "../../graph/shape.ts";
import { withBodies } from "../inline.ts";
import { distinct } from "./collapse.ts";
import { View } from "./view.ts";

/**
 * A node that stands for more is not passed by: chains of a million, read a million times, would make
 * lists without end.
 */
const ORIGINALS_MAX = 16;

/** The graph without nodes that do nothing; the same graph if it has none. */
export function passInert(graph: Graph, outer?: View): Graph {
  const view = new View(graph, outer);
  const passed = new Map<
    ValueName,
    { readonly value: ValueName; readonly originals: readonly Original[] }
  >();
  const nodes = graph.nodes.flatMap((given): readonly Node[] => {
    const node = withBodies(given, (body) => passInert(body, view));
    const stood = node.inputs.flatMap((name) => passed.get(name)?.originals ?? []);
    const originals = distinct([...stood, ...ownOriginals(node)]);
    const source = inertInput(view, given);
    if (source !== undefined && originals.length <= ORIGINALS_MAX) {
      const value = passed.get(source)?.value ?? source;
      passed.set(given.outputs[0] ?? "", { value, originals });
      return [];
    }
    if (stood.length === 0) return [node];
    const inputs = node.inputs.map((name) => passed.get(name)?.value ?? name);
    return [{ ...node, inputs, originals }];
  });
  if (nodes.length === graph.nodes.length && nodes.every((node, i) => node === graph.nodes[i])) {
    return graph;
  }
  const values = new Map(graph.values);
  for (const name of passed.keys()) values.delete(name);
  return { ...graph, nodes, values };
}

/** The input that a node hands on unchanged, if nothing asks for its own name. */
function inertInput(view: View, node: Node): ValueName | undefined {
  const [output = "", ...more] = node.outputs;
  const { uses, outputs } = view.index;
  const readers = uses.get(output) ?? [];
  if (readers.length === 0 || outputs.has(output)) return undefined;
  // What a body reads keeps its name; so does what has a second result.
  if (readers.some((use) => use.input < 0)) return undefined;
  if (more.some((name) => uses.has(name) || outputs.has(name))) return undefined;
  const input = unchanged(view, node);
  if (input === undefined || view.constant(input) !== undefined) return undefined;
  const [before, after] = [view.type(input), view.type(output)];
  if (after === undefined) return input;
  return before?.dtype === after.dtype && tellsAsMuch(before.shape, after.shape)
    ? input
    : undefined;
}

/** Whether nothing is lost when one shape is all that is known. */
function tellsAsMuch(kept: Shape | undefined, lost: Shape | undefined): boolean {
  if (lost === undefined) return true;
  if (kept?.length !== lost.length) return false;
  return lost.every((dim, axis) => dim === kept[axis] || dim === UNKNOWN_DIM);
}

function unchanged(view: View, node: Node): ValueName | undefined {
  if (node.domain !== "") return undefined;
  const [first = "", second = ""] = node.inputs;
  switch (node.op) {
    case "Identity":
    case "Cast":
    case "CastLike":
      return first;
    case "Dropout":
      return trains(view, node) ? undefined : first;
    case "Div":
      return isOne(view, second, first) ? first : undefined;
    case "Mul":
      if (isOne(view, second, first)) return first;
      return isOne(view, first, second) ? second : undefined;
    default:
      return undefined;
  }
}

/** Whether a constant is a 1 that does not add axes. */
function isOne(view: View, name: ValueName, other: ValueName): boolean {
  if (view.scalar(name) !== 1) return false;
  const ref = view.constant(name);
  const rank = view.shape(other)?.length ?? 0;
  return elementCount(ref?.shape) === 1 && (ref?.shape.length ?? 0) <= rank;
}

/** The mode is an input since operator set 12, an attribute before 7; between, there is none. */
function trains(view: View, node: Node): boolean {
  const mode = node.inputs[2] ?? "";
  if (mode !== "") return view.scalar(mode) !== 0;
  if (view.opset >= 7) return false;
  const test = node.attributes.get("is_test");
  return test?.kind !== "int" || Number(test.value) === 0;
}
