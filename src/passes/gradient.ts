// Reverse-mode differentiation, graph to graph: the forward graph stays as it is, and plain ONNX nodes
// that compute the gradients are appended to it. The rules stand in the op table (Griewank and Walther
// 2008, chapter 3: the reverse mode accumulates one cotangent per value).

import { present } from "../base/assert.ts";
import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import { isFloat } from "../graph/dtype.ts";
import type { Graph, Node, ValueName } from "../graph/graph.ts";
import { scalar } from "../graph/tensor.ts";
import { opOf } from "../ops/index.ts";
import type { GradientContext } from "../ops/op.ts";

/** Reductions take their axes as an input from here on, and that is what the rules emit. */
const OPSET_MIN = 18;

/** What to differentiate, and with respect to what. */
export interface GradientRequest {
  /** A scalar float32 value of the graph. */
  readonly loss: ValueName;
  /** Initializers, graph inputs or values in between. */
  readonly wrt: readonly ValueName[];
}

/** The graph with its gradients, and where each of them is. */
export interface Differentiated {
  readonly graph: Graph;
  /** From each value asked for to the value that holds ∂loss/∂value, of the same shape. */
  readonly gradients: ReadonlyMap<ValueName, ValueName>;
}

/**
 * Appends the gradients of a scalar loss to a graph whose shapes are inferred and static.
 *
 * @throws SkipwayError `input` with a diagnostic for each op that has no gradient on a path that needs
 * one, and for each requested value that the loss does not depend on.
 */
export function differentiate(graph: Graph, request: GradientRequest): Differentiated {
  checkOpset(graph);
  const dependent = valuesDependingOn(graph, request.wrt);
  refuse(unsupportedOnPath(graph, request, dependent));
  const builder = new TypedBuilder(graph);
  const cotangents = new Map<ValueName, ValueName[]>();
  cotangents.set(request.loss, [builder.constant(scalar(1), "one")]);
  const gradients = new Map<ValueName, ValueName>();
  const settled = (name: ValueName): ValueName | undefined => {
    const known = gradients.get(name);
    if (known !== undefined) return known;
    const parts = cotangents.get(name);
    if (parts === undefined) return undefined;
    const total = parts.length === 1 ? parts[0] : builder.emit("Sum", parts, { name: `d_${name}` });
    const gradient = present(total, "a cotangent has parts");
    gradients.set(name, gradient);
    return gradient;
  };
  for (const node of graph.nodes.toReversed()) {
    if (!node.outputs.some((name) => dependent.has(name) && cotangents.has(name))) continue;
    const rule = opOf(node)?.gradient;
    if (typeof rule !== "function") continue;
    const dy = node.outputs.map((name) => (name === "" ? undefined : settled(name)));
    const context = contextOf(builder, node, dependent);
    for (const [i, gradient] of rule(context, dy).entries()) {
      const input = node.inputs[i] ?? "";
      if (gradient === undefined || !dependent.has(input)) continue;
      const parts = cotangents.get(input);
      if (parts === undefined) cotangents.set(input, [gradient]);
      else parts.push(gradient);
    }
  }
  const found = new Map<ValueName, ValueName>();
  for (const name of request.wrt) {
    const gradient = settled(name);
    if (gradient !== undefined) found.set(name, gradient);
  }
  refuse(request.wrt.filter((name) => !found.has(name)).map(unreached));
  for (const output of graph.outputs) builder.output(output);
  return { graph: builder.finish(graph.name, graph.opsets, graph.metadata), gradients: found };
}

function contextOf(
  builder: TypedBuilder,
  node: Node,
  dependent: ReadonlySet<ValueName>,
): GradientContext {
  return {
    node,
    wants: (i) => dependent.has(node.inputs[i] ?? ""),
    emit: (op, inputs, options) => builder.emit(op, inputs, options),
    emitAll: (op, inputs, options) => builder.emitAll(op, inputs, options),
    constant: (ref, stem) => builder.constant(ref, stem),
    typeOf: (name) => builder.typeOf(name),
    constantOf: (name) => builder.constantOf(name),
  };
}

/** Float values on a differentiable path from the requested ones; integer values carry none. */
function valuesDependingOn(graph: Graph, wrt: readonly ValueName[]): Set<ValueName> {
  const dependent = new Set<ValueName>(wrt);
  for (const node of graph.nodes) {
    if (!node.inputs.some((name) => dependent.has(name))) continue;
    if (opOf(node)?.gradient === "zero") continue;
    for (const name of node.outputs) {
      const dtype = graph.values.get(name)?.dtype;
      if (name !== "" && (dtype === undefined || isFloat(dtype))) dependent.add(name);
    }
  }
  return dependent;
}

/** Values from which the loss can be reached. */
function valuesReaching(graph: Graph, loss: ValueName): Set<ValueName> {
  const reaching = new Set<ValueName>([loss]);
  for (const node of graph.nodes.toReversed()) {
    if (!node.outputs.some((name) => reaching.has(name))) continue;
    for (const name of node.inputs) if (name !== "") reaching.add(name);
  }
  return reaching;
}

function unsupportedOnPath(
  graph: Graph,
  request: GradientRequest,
  dependent: ReadonlySet<ValueName>,
): Diagnostic[] {
  const reaching = valuesReaching(graph, request.loss);
  return graph.nodes
    .filter((node) => {
      const onPath = node.outputs.some((name) => dependent.has(name) && reaching.has(name));
      const rule = opOf(node)?.gradient;
      return onPath && (rule === undefined || rule === "unsupported");
    })
    .map((node) =>
      diagnostic({
        id: "gradient/unsupported",
        severity: "error",
        where: `node ${node.name} (${node.domain === "" ? "" : `${node.domain}.`}${node.op})`,
        text: "skipway has no gradient rule for this op, and the loss depends on it",
        fix: "Train only the initializers behind it, or replace the op by one listed as differentiable.",
      }),
    );
}

function unreached(name: ValueName): Diagnostic {
  return diagnostic({
    id: "gradient/no-path",
    severity: "error",
    where: `value "${name}"`,
    text: "its gradient was asked for, but no differentiable path leads from it to the loss",
    fix: "Leave it out of the values to differentiate, or check that the model uses it.",
  });
}

function refuse(found: readonly Diagnostic[]): void {
  if (found.length > 0) throw SkipwayError.fromDiagnostics("input", found);
}

function checkOpset(graph: Graph): void {
  const opset = graph.opsets.get("") ?? 0;
  if (opset >= OPSET_MIN) return;
  refuse([
    diagnostic({
      id: "gradient/opset",
      severity: "error",
      where: `graph ${graph.name}`,
      text: `gradients are built for operator set ${OPSET_MIN} and above, this model has ${opset}`,
      fix: `Export the model again with opset_version=${OPSET_MIN} or later.`,
    }),
  ]);
}
