// Scan-8 goes over a batch of sequences at a time. As a Scan over the batch whose body is the Scan over the
// sequence, it is what later versions write.

import {
  type Graph,
  int,
  intAttribute,
  intsAttribute,
  type Node,
  type Value,
} from "../../graph/graph.ts";
import { type Change, withAttribute, without } from "./step.ts";

/** Scan-8 to Scan-9. */
export const batchAround: Change = (node, context) => {
  const [lengths = "", ...inputs] = node.inputs;
  const attribute = node.attributes.get("body");
  const scanned = intAttribute(node, "num_scan_inputs", 0);
  const states = inputs.length - scanned;
  if (attribute?.kind !== "graph" || states < 0) return node;
  if (lengths !== "") {
    context.refuse(
      "goes over sequences of different lengths, which operator set 9 no longer has",
      "Export the model again with opset_version=9 or later.",
    );
  }
  const directions = intsAttribute(node, "directions");
  const { originals: _of, remarks: _said, ...bare } = node;
  const plain = without(bare, "directions");
  const inner = {
    ...(directions === undefined
      ? plain
      : withAttribute(plain, "scan_input_directions", { kind: "ints", value: directions })),
    name: `${node.name}.sequence`,
    inputs: inputs.map((_, i) => context.fresh(`${node.name}.in${i}`)),
    outputs: node.outputs.map((_, i) => context.fresh(`${node.name}.out${i}`)),
  };
  return {
    ...node,
    inputs,
    attributes: new Map([
      ["num_scan_inputs", int(inputs.length)],
      ["body", { kind: "graph", value: bodyAround(inner, attribute.value) }],
    ]),
  };
};

/** The body that goes over one sequence. Its values are typed by inference. */
function bodyAround(inner: Node, body: Graph): Graph {
  const untyped = (name: string, like: Value | undefined): Value => ({
    name,
    dtype: like?.dtype ?? "float32",
    shape: undefined,
  });
  return {
    ...body,
    name: `${body.name}.batch`,
    inputs: inner.inputs.map((name, i) => untyped(name, body.inputs[i])),
    outputs: inner.outputs.map((name, i) => untyped(name, body.outputs[i])),
    nodes: [inner],
    initializers: new Map(),
    values: new Map(),
  };
}
