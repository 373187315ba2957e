// A model whose inputs or outputs are bfloat16, for which JavaScript has no array: Casts at its ends, so that
// float32 goes in and comes out. Both ways are exact: every bfloat16 is a float32.

import { assert } from "../base/assert.ts";
import { GraphBuilder } from "../graph/build.ts";
import {
  type Attribute,
  type Graph,
  int,
  type Node,
  type Value,
  type ValueName,
} from "../graph/graph.ts";
import { withGraph } from "../onnx/onnx-model.ts";
import { loadModel, readModel } from "../onnx/read.ts";
import { encodeModel } from "../onnx/write.ts";
import type { ModelSource } from "./runner.ts";

const FLOAT32 = 1;
const BFLOAT16 = 16;

/**
 * The bytes of the same model with float32 at its ends. Weights beside it stay there.
 *
 * @throws SkipwayError `input` where the model cannot be read.
 */
export async function withFloat32Ends(source: ModelSource): Promise<Uint8Array> {
  const model = "path" in source ? await loadModel(source.path) : readModel(source.bytes);
  return encodeModel(withGraph(model, castAtEnds(model.graph)));
}

/** The inner names change, the names of inputs and outputs stay. */
function castAtEnds(graph: Graph): Graph {
  const names = new GraphBuilder(graph);
  const inner = new Map<ValueName, ValueName>();
  const before: Node[] = [];
  const after: Node[] = [];
  const inputs = graph.inputs.map((value): Value => {
    if (value.dtype !== "bfloat16") return value;
    const name = names.unique(`${value.name}_bfloat16`);
    names.reserve(name);
    inner.set(value.name, name);
    before.push(cast(names, value.name, name, BFLOAT16));
    return { ...value, dtype: "float32" };
  });
  const outputs = graph.outputs.map((value): Value => {
    if (value.dtype !== "bfloat16") return value;
    const name = inner.get(value.name) ?? names.unique(`${value.name}_bfloat16`);
    assert(!graph.inputs.some((input) => input.name === value.name), "an output has a producer");
    names.reserve(name);
    inner.set(value.name, name);
    after.push(cast(names, name, value.name, FLOAT32));
    return { ...value, dtype: "float32" };
  });
  const nodes = [...before, ...graph.nodes.map((node) => renamed(node, inner)), ...after];
  const initializers = new Map(
    [...graph.initializers].map(([name, ref]) => [inner.get(name) ?? name, ref]),
  );
  // What the file says of inner values is under their old names; the runtime infers it again.
  return { ...graph, inputs, outputs, nodes, initializers, values: new Map() };
}

function cast(names: GraphBuilder, from: ValueName, to: ValueName, code: number): Node {
  const name = names.unique(`${to}_cast`);
  names.reserve(name);
  return {
    name,
    op: "Cast",
    domain: "",
    inputs: [from],
    outputs: [to],
    attributes: new Map([["to", int(code)]]),
  };
}

/** Bodies see the names around them, and none of theirs may be the same (onnx, docs/IR.md). */
function renamed(node: Node, names: ReadonlyMap<ValueName, ValueName>): Node {
  const rename = (name: ValueName): ValueName => names.get(name) ?? name;
  const attributes = new Map<string, Attribute>();
  for (const [name, attribute] of node.attributes) {
    attributes.set(name, inBodies(attribute, names));
  }
  const [inputs, outputs] = [node.inputs.map(rename), node.outputs.map(rename)];
  return { ...node, inputs, outputs, attributes };
}

function inBodies(attribute: Attribute, names: ReadonlyMap<ValueName, ValueName>): Attribute {
  const body = (graph: Graph): Graph => ({
    ...graph,
    nodes: graph.nodes.map((node) => renamed(node, names)),
    outputs: graph.outputs.map((one) => ({ ...one, name: names.get(one.name) ?? one.name })),
  });
  if (attribute.kind === "graph") return { kind: "graph", value: body(attribute.value) };
  if (attribute.kind !== "graphs") return attribute;
  return { kind: "graphs", value: attribute.value.map(body) };
}
