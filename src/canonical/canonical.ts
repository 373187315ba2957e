// The graph as analysis reads it: shapes inferred, what depends on no input counted as a weight, as the
// runtime does before the first run (some exporters write every weight as a node), and idioms as one node.

import type { Graph, Node, ValueName } from "../graph/graph.ts";
import { subgraphs } from "../graph/graph.ts";
import { typeOf } from "../graph/query.ts";
import { isStatic } from "../graph/shape.ts";
import type { TensorRef } from "../graph/tensor.ts";
import { tensorOfConstant } from "./constant-node.ts";
import { decideBranches } from "./decide.ts";
import { Evaluation } from "./evaluate.ts";
import { collapseIdioms } from "./idioms/index.ts";
import { inlineFunctions } from "./inline.ts";
import type { Content, KnownValues } from "./known.ts";
import { propagate } from "./propagate.ts";
import { withoutSequences } from "./sequences.ts";
import { unfuseNorms } from "./unfuse.ts";

/** Ops that give something else each time. */
const RANDOM = new Set([
  ...["RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"],
  ...["Bernoulli", "Multinomial"],
]);

/** Rounds until nothing changes; files that are not damaged need two. */
const ROUNDS_MAX = 16;

/** Graphs that are known to be in their form, with idioms collapsed and without. */
const canonical = new WeakSet<Graph>();
const executed = new WeakSet<Graph>();

/**
 * The canonical form: functions in the place of their calls, decided branches taken, constants as weights,
 * and each way of writing an op in several nodes as that op. Idempotent; the same graph back if there is
 * nothing to do. It is for reading: a node in it may be of a newer operator set than the graph's.
 *
 * @param options.idioms false keeps the nodes of idioms apart, as they are run: what lies between them takes
 * memory. Default true.
 * @throws SkipwayError `input` for functions that unfold without end.
 */
export function canonicalize(graph: Graph, options: { idioms?: boolean } = {}): Graph {
  if (options.idioms === false) return settle(graph, executed, unfolded);
  const found = settle(graph, canonical, (one) =>
    collapseIdioms(withoutSequences(unfuseNorms(unfolded(one)))),
  );
  executed.add(found);
  return found;
}

function unfolded(graph: Graph): Graph {
  return withoutConstantNodes(decideBranches(inlineFunctions(graph)));
}

/** Applies a step until it changes nothing: a constant that was found may decide a shape, and a shape a constant. */
function settle(graph: Graph, known: WeakSet<Graph>, step: (graph: Graph) => Graph): Graph {
  let current = graph;
  for (let round = 0; round < ROUNDS_MAX && !known.has(current); round++) {
    const next = step(current);
    if (next === current) known.add(current);
    current = next;
  }
  return current;
}

/**
 * Turns nodes that depend on no graph input into initializers of the same name, type and shape. Their
 * elements are there if the file has them, else `absent`: analysis needs their sizes.
 */
function withoutConstantNodes(graph: Graph): Graph {
  const initializers = new Map<ValueName, TensorRef>(graph.initializers);
  const outputs = new Set(graph.outputs.map((value) => value.name));
  const contents = new Map<ValueName, Content>();
  const known: KnownValues = {
    typeOf: (name) => typeOf(graph, name),
    constantOf: (name) => initializers.get(name),
    contentOf: (name) => contents.get(name),
  };
  const made = new Map(graph.folded);
  const evaluation = new Evaluation();
  const nodes = graph.nodes.filter((node) => {
    propagate(node, known, contents);
    const folded = constantOutputs(graph, node, { initializers, contents, evaluation });
    if (folded === undefined || node.outputs.some((name) => outputs.has(name))) return true;
    for (const [name, ref] of folded) {
      initializers.set(name, ref);
      made.set(name, node);
    }
    return false;
  });
  if (nodes.length === graph.nodes.length) return graph;
  return { ...graph, nodes, initializers, folded: made };
}

/** Where the elements of constants are found. */
interface Elements {
  readonly initializers: ReadonlyMap<ValueName, TensorRef>;
  readonly contents: ReadonlyMap<ValueName, Content>;
  readonly evaluation: Evaluation;
}

function constantOutputs(
  graph: Graph,
  node: Node,
  { initializers, contents, evaluation }: Elements,
): readonly (readonly [ValueName, TensorRef])[] | undefined {
  if (RANDOM.has(node.op) || subgraphs(node).length > 0) return undefined;
  if (!dependsOnConstants(graph, node, initializers)) return undefined;
  const found: (readonly [ValueName, TensorRef])[] = [];
  for (const name of node.outputs) {
    if (name === "") continue;
    const type = typeOf(graph, name);
    if (type === undefined || !isStatic(type.shape)) return undefined;
    const { dtype, shape } = type;
    const followed = contents.get(name)?.tensor;
    const given =
      tensorOfConstant(node) ??
      (followed?.dtype === dtype ? followed : undefined) ??
      evaluation.evaluate(node, { dtype, shape }, (input) => initializers.get(input));
    found.push([name, given ?? { dtype, shape, data: { kind: "absent" } }]);
  }
  return found;
}

/** Whether what a node gives is known before the first run. */
function dependsOnConstants(
  graph: Graph,
  node: Node,
  constants: ReadonlyMap<ValueName, TensorRef>,
): boolean {
  const [first = ""] = node.inputs;
  // Of these, only the shape or the type of an operand matters.
  if (node.op === "Shape" || node.op === "Size") return isStatic(typeOf(graph, first)?.shape);
  const read = node.op === "CastLike" ? [first] : node.inputs;
  return read.every((name) => name === "" || constants.has(name));
}
