// Reverse-mode differentiation, graph to graph: the forward graph stays, and plain ONNX nodes that compute
// the gradients are appended to it. The rules stand in the op table.

import { type Diagnostic, diagnostic } from "../../base/diagnostic.ts";
import { SkipwayError } from "../../base/errors.ts";
import { inlineFunctions } from "../../canonical/inline.ts";
import { TypedBuilder } from "../../canonical/typed-builder.ts";
import { isFloat } from "../../graph/dtype.ts";
import type { Graph, ValueName } from "../../graph/graph.ts";
import { typeOf } from "../../graph/query.ts";
import { elementCount } from "../../graph/shape.ts";
import { expandLike, scalarLike } from "../../ops/construct.ts";
import { BUILT_IN_COSTS, type KernelCosts } from "../../ops/kernel-costs.ts";
import { Backward } from "./backward.ts";
import { decompose } from "./decompose.ts";
import { dependingOn, type Stretch, unreached, unsupportedOn } from "./paths.ts";
import { withSavedResults } from "./saved.ts";

/** Reductions take their axes as an input from here on, and that is what the rules emit. */
const OPSET_MIN = 18;

/** What to differentiate, and with respect to what. */
export interface GradientRequest {
  /** A scalar float value of the graph. */
  readonly loss: ValueName;
  /** Initializers, graph inputs or values in between. */
  readonly wrt: readonly ValueName[];
  /** What of those that the loss does not depend on: refused by default, else left out of the result. */
  readonly unreached?: "refuse" | "leave-out";
  /** What kernels take, where a gradient has several forms. Default: those built in, the same everywhere. */
  readonly costs?: KernelCosts;
}

/** The graph with its gradients, and where each of them is. */
export interface Differentiated {
  readonly graph: Graph;
  /** From each value asked for to the value that holds ∂loss/∂value, of the same shape. */
  readonly gradients: ReadonlyMap<ValueName, ValueName>;
}

/**
 * Appends the gradients of a scalar loss to a graph whose shapes are inferred. Calls of functions are
 * inlined, and ops that have a decomposition in place of a rule are taken apart; all values of the graph
 * keep their names.
 *
 * @throws SkipwayError `input` with a diagnostic for each op that has no gradient on a path that needs
 * one, and for each requested value that the loss does not depend on.
 */
export function differentiate(given: Graph, request: GradientRequest): Differentiated {
  checkOpset(given);
  const inlined = inlineFunctions(given);
  checkLoss(inlined, request.loss);
  refuse(unsupportedIn(inlined, request));
  const apart = decompose(inlined, request.wrt, (empty) => new TypedBuilder(empty));
  // What an op was taken apart into may have no gradient either.
  if (apart !== inlined) refuse(unsupportedIn(apart, request));
  const graph = withSavedResults(apart, request.wrt);
  const builder = new TypedBuilder(graph);
  const dependent = dependingOn(graph.nodes, request.wrt, (name) => builder.typeOf(name));
  const backward = new Backward(builder, dependent, request.costs ?? BUILT_IN_COSTS);
  const one = scalarLike(builder, request.loss, 1);
  const rank = builder.typeOf(request.loss)?.shape?.length;
  backward.add(request.loss, rank === 0 ? one : expandLike(builder, one, request.loss));
  backward.through(graph.nodes);
  const found = new Map<ValueName, ValueName>();
  for (const name of request.wrt) {
    const gradient = backward.gradientOf(name);
    if (gradient !== undefined) found.set(name, gradient);
  }
  if (request.unreached !== "leave-out") {
    const missing = request.wrt.filter((name) => !found.has(name));
    refuse(missing.map((name) => unreached(name, stretchOf(graph, request))));
  }
  for (const output of graph.outputs) builder.output(output);
  return { graph: builder.finish(graph.name, graph.opsets, graph.metadata), gradients: found };
}

function unsupportedIn(graph: Graph, request: GradientRequest): readonly Diagnostic[] {
  return unsupportedOn(stretchOf(graph, request));
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

function checkLoss(graph: Graph, loss: ValueName): void {
  const type = typeOf(graph, loss);
  const single = type?.shape === undefined || elementCount(type.shape) === 1;
  if (type !== undefined && isFloat(type.dtype) && single) return;
  refuse([
    diagnostic({
      id: "gradient/loss",
      severity: "error",
      where: `value "${loss}"`,
      text: `a loss is one float number, this is ${type === undefined ? "no value of the graph" : `${type.dtype}[${type.shape}]`}`,
      fix: "Reduce it to its sum or mean, and differentiate that.",
    }),
  ]);
}

/** The way from what is asked for to the loss. */
export function stretchOf(
  graph: Graph,
  { wrt, loss }: { readonly wrt: Iterable<ValueName>; readonly loss: ValueName },
): Stretch {
  return { nodes: graph.nodes, wrt, ends: [loss], typeOf: (name) => typeOf(graph, name) };
}
