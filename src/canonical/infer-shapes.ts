// Shape inference over a whole graph: one pass in topological order, each node by its own rule. What a
// file declares is kept where inference knows less.

import type { Graph, Value, ValueName, ValueType } from "../graph/graph.ts";
import { indexOf } from "../graph/query.ts";
import { bindShape, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import { inferNode } from "./infer-node.ts";
import { type Content, propagate } from "./propagate.ts";

/**
 * Types for every value that the op table can give one. `sizes` puts numbers in place of symbolic dims
 * everywhere, inputs and outputs included. The same graph back if there is nothing to add.
 */
export function inferShapes(graph: Graph, sizes: ReadonlyMap<string, number> = new Map()): Graph {
  const bind = (value: Value): Value => bindValue(value, sizes);
  const inputs = mapSame(graph.inputs, bind);
  const values = new Map<ValueName, Value>();
  for (const value of graph.values.values()) values.set(value.name, bind(value));
  for (const value of inputs) values.set(value.name, value);
  const contents = new Map<ValueName, Content>();
  const typeOf = (name: ValueName): ValueType | undefined =>
    values.get(name) ?? graph.initializers.get(name);
  const opset = graph.opsets.get("") ?? 1;
  for (const node of graph.nodes) {
    const types = inferNode(node, opset, {
      typeOf,
      constantOf: (name) => graph.initializers.get(name) ?? contents.get(name)?.tensor,
      entriesOf: (name) => contents.get(name)?.entries,
    });
    for (const [i, type] of types.entries()) {
      const name = node.outputs[i] ?? "";
      if (name === "" || type === undefined) continue;
      values.set(name, { name, ...merge(values.get(name), type) });
    }
    propagate(node, { typeOf, initializers: graph.initializers, contents });
  }
  const outputs = mapSame(graph.outputs, (value) => {
    const inferred = values.get(value.name);
    return bind(inferred === undefined ? value : { ...value, ...merge(value, inferred) });
  });
  const known = graph.values;
  const same =
    inputs === graph.inputs &&
    outputs === graph.outputs &&
    [...values].every(([name, value]) => sameType(value, known.get(name) ?? inputOf(graph, name)));
  return same ? graph : { ...graph, inputs, outputs, values };
}

function inputOf(graph: Graph, name: ValueName): Value | undefined {
  return indexOf(graph).inputs.get(name);
}

/** What two statements about one value say together; a number wins over a symbol over unknown. */
function merge(declared: ValueType | undefined, inferred: ValueType): ValueType {
  // A rule may hand on a whole value, name included: only the type is taken.
  const { dtype, shape } = inferred;
  if (declared?.shape === undefined) return { dtype, shape };
  if (shape === undefined || shape.length !== declared.shape.length) {
    return { dtype: declared.dtype, shape: declared.shape };
  }
  const dims: Shape = shape.map((dim, axis) => {
    const said = declared.shape?.[axis] ?? UNKNOWN_DIM;
    if (typeof dim === "number") return dim;
    return typeof said === "number" || dim === UNKNOWN_DIM ? said : dim;
  });
  return { dtype: declared.dtype, shape: dims };
}

function bindValue(value: Value, sizes: ReadonlyMap<string, number>): Value {
  if (value.shape === undefined || sizes.size === 0) return value;
  const shape = bindShape(value.shape, sizes);
  return shape.every((dim, axis) => dim === value.shape?.[axis]) ? value : { ...value, shape };
}

function sameType(a: Value, b: Value | undefined): boolean {
  if (b === undefined || a.dtype !== b.dtype) return false;
  if (a.shape === undefined || b.shape === undefined) return a.shape === b.shape;
  return a.shape.length === b.shape.length && a.shape.every((dim, axis) => dim === b.shape?.[axis]);
}

/** Maps a list; the same list back if no element changes. */
function mapSame(list: readonly Value[], change: (value: Value) => Value): readonly Value[] {
  const changed = list.map(change);
  return changed.every((value, i) => value === list[i] || sameType(value, list[i]))
    ? list
    : changed;
}
