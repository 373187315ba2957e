// Sequences of tensors that are taken apart where they were put together: a Split, and a Concat. Exporters
// write `chunk` and `cat` so, where lists of Python stand in the program.

import { type Graph, int, intAttribute, type Node, type ValueName } from "../graph/graph.ts";
import { ownOriginals } from "../graph/original.ts";
import { indexOf, typeOf } from "../graph/query.ts";
import { normalizeAxis } from "../graph/shape.ts";
import { int64, numbersOf, type TensorRef } from "../graph/tensor.ts";
import { FreshNames } from "./fresh-names.ts";
import { distinct } from "./idioms/collapse.ts";

/** More parts than that are not written out. */
const PARTS_MAX = 1024;

/** What takes the place of nodes; an empty list takes nothing. */
interface Change {
  readonly nodes: Map<Node, readonly Node[]>;
  readonly initializers: Map<ValueName, TensorRef>;
  readonly names: FreshNames;
}

/** The graph without sequences whose elements are known; the same graph if there is none. */
export function withoutSequences(graph: Graph): Graph {
  if (!graph.nodes.some((node) => STARTS.has(node.op))) return graph;
  const change: Change = {
    ...{ nodes: new Map(), initializers: new Map(), names: new FreshNames(graph) },
  };
  for (const node of graph.nodes) {
    if (node.domain !== "") continue;
    if (node.op === "SplitToSequence") splitApart(graph, node, change);
    if (node.op === "SequenceConstruct") joined(graph, node, change);
  }
  if (change.nodes.size === 0) return graph;
  return {
    ...graph,
    nodes: graph.nodes.flatMap((node) => change.nodes.get(node) ?? [node]),
    initializers: new Map([...graph.initializers, ...change.initializers]),
  };
}

const STARTS = new Set(["SplitToSequence", "SequenceConstruct"]);

function numbersAt(graph: Graph, name: ValueName | undefined): readonly number[] | undefined {
  const ref = graph.initializers.get(name ?? "");
  return ref && numbersOf(ref);
}

/** The nodes that read a value, if all are of one op and nothing else does. */
function readersOf(graph: Graph, name: ValueName, op: string): Node[] | undefined {
  const { uses, outputs } = indexOf(graph);
  const found = uses.get(name) ?? [];
  const all = found.length > 0 && found.every(({ node, input }) => node.op === op && input === 0);
  return all && !outputs.has(name) ? found.map((use) => use.node) : undefined;
}

/** SplitToSequence and what takes its parts by number: a Split. */
function splitApart(graph: Graph, node: Node, change: Change): void {
  const readers = readersOf(graph, node.outputs[0] ?? "", "SequenceAt");
  const sizes = partSizes(graph, node, change);
  if (readers === undefined || sizes === undefined) return;
  const outputs: ValueName[] = [];
  const further: Node[] = [];
  for (const reader of readers) {
    const given = numbersAt(graph, reader.inputs[1])?.[0];
    const position = given === undefined ? undefined : normalizeAxis(given, sizes.count);
    const [output = ""] = reader.outputs;
    if (position === undefined) return;
    const before = outputs[position];
    if (before === undefined) outputs[position] = output;
    else further.push({ ...reader, op: "Identity", inputs: [before] });
  }
  const originals = distinct([node, ...readers].flatMap(ownOriginals));
  const part = (i: number): ValueName => outputs[i] ?? change.names.value(`${node.name}/${i}`);
  const parts = Array.from({ length: sizes.count }, (_, i) => part(i));
  const attributes = new Map([["axis", int(intAttribute(node, "axis", 0))]]);
  const [x = ""] = node.inputs;
  const whole = {
    ...node,
    op: "Split",
    inputs: [x, sizes.name],
    outputs: parts,
    attributes,
    originals,
  };
  change.nodes.set(node, [whole]);
  for (const reader of readers)
    change.nodes.set(
      reader,
      further.filter((one) => one.name === reader.name),
    );
}

/** The list of the sizes of the parts along the axis, which they keep: the numbers in it may be known at run time only. */
function partSizes(
  graph: Graph,
  node: Node,
  change: Change,
): { readonly name: ValueName; readonly count: number } | undefined {
  const [x = "", given = ""] = node.inputs;
  const listed = given === "" ? undefined : typeOf(graph, given)?.shape;
  if (listed?.length === 1) {
    const [count] = listed;
    if (typeof count !== "number" || count < 1 || count > PARTS_MAX) return undefined;
    return { name: given, count };
  }
  if (given === "" && intAttribute(node, "keepdims", 1) === 0) return undefined;
  const shape = typeOf(graph, x)?.shape;
  const axis = shape && normalizeAxis(intAttribute(node, "axis", 0), shape.length);
  const whole = axis === undefined ? undefined : shape?.[axis];
  const size = given === "" ? 1 : numbersAt(graph, given)?.[0];
  if (typeof whole !== "number" || size === undefined || size < 1) return undefined;
  const count = Math.ceil(whole / size);
  if (count < 1 || count > PARTS_MAX) return undefined;
  const sizes = Array.from({ length: count }, (_, i) => Math.min(size, whole - i * size));
  const name = change.names.value(`${node.name}/sizes`);
  change.initializers.set(name, int64([count], sizes));
  return { name, count };
}

/** SequenceConstruct and ConcatFromSequence along an axis that is there: a Concat. */
function joined(graph: Graph, node: Node, change: Change): void {
  const readers = readersOf(graph, node.outputs[0] ?? "", "ConcatFromSequence");
  if (readers === undefined) return;
  if (readers.some((reader) => intAttribute(reader, "new_axis", 0) !== 0)) return;
  change.nodes.set(node, []);
  for (const reader of readers) {
    const attributes = new Map([["axis", int(intAttribute(reader, "axis", 0))]]);
    const originals = distinct([node, reader].flatMap(ownOriginals));
    change.nodes.set(reader, [
      { ...reader, op: "Concat", inputs: node.inputs, attributes, originals },
    ]);
  }
}
