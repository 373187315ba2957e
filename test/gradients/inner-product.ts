// ⟨Jv, u⟩ = ⟨v, Jᵀu⟩ (Griewank and Walther 2008, section 3.2) on a whole random graph: Jv from central
// differences of the forward graph, never from a rule; Jᵀu from the gradient graph, with u as the weights of
// the loss. What is accumulated, summed back over broadcasts and read twice has to add up.

import { Random } from "../../src/base/random.ts";
import { TypedBuilder } from "../../src/canonical/typed-builder.ts";
import { type Graph, int, type ValueName } from "../../src/graph/graph.ts";
import { float32 } from "../../src/graph/tensor.ts";
import { verify } from "../../src/ops/verify.ts";
import { differentiate } from "../../src/passes/gradient/differentiate.ts";
import { type Array64, sizeOf } from "../float64/array.ts";
import { evaluate } from "../float64/evaluate.ts";
import { type RandomGraph, randomGraph } from "./random-graph.ts";

const EPSILON = 1e-6;
/** Relative to the sum of the terms of ⟨v, Jᵀu⟩ without their signs. */
const TOLERANCE = 1e-5;

/** The graph with the loss ⟨u, outputs⟩ for a random u. */
function weighted(found: RandomGraph, random: Random): Graph {
  const builder = new TypedBuilder(found.graph);
  const parts = found.ends.map((end) => {
    const shape = (builder.typeOf(end)?.shape ?? []).map(Number);
    const u = Float32Array.from({ length: sizeOf(shape) }, () => random.normal());
    const product = builder.emit("Mul", [end, builder.constant(float32(shape, u))]);
    return builder.emit("ReduceSum", [product], { attributes: { keepdims: int(0) } });
  });
  builder.emit("Sum", parts, { outputs: ["loss"] });
  builder.output({ name: "loss", dtype: "float32", shape: [] });
  return builder.finish("random", found.graph.opsets);
}

/** The derivative of the loss along directions of the leaves, by central differences. */
function slopeOf(
  graph: Graph,
  feeds: ReadonlyMap<ValueName, Array64>,
  directions: ReadonlyMap<ValueName, Float64Array>,
): number {
  const loss = (by: number): number => {
    const moved = [...feeds].map(([name, x]): [ValueName, Array64] => [
      name,
      { ...x, values: x.values.map((value, i) => value + by * (directions.get(name)?.[i] ?? 0)) },
    ]);
    return evaluate(graph, new Map(moved)).get("loss")?.values[0] ?? Number.NaN;
  };
  return (loss(EPSILON) - loss(-EPSILON)) / (2 * EPSILON);
}

/** What is wrong with the gradients of a random graph; empty where nothing is. */
export function innerProductFaults(seed: number, nodes: number): string[] {
  const random = new Random(seed);
  const found = randomGraph(random, nodes);
  const graph = weighted(found, random);
  const made = differentiate(graph, { loss: "loss", wrt: found.leaves });
  const faults = verify(made.graph).map((fault) => `${fault.id}: ${fault.where} ${fault.text}`);
  const gradients = evaluate(made.graph, found.feeds);
  const directions = new Map<ValueName, Float64Array>();
  let [product, size] = [0, 0];
  for (const [leaf, input] of found.feeds) {
    const gradient = gradients.get(made.gradients.get(leaf) ?? "");
    const shape = gradient?.shape.join();
    if (shape !== input.shape.join()) faults.push(`d${leaf} is [${shape}], not [${input.shape}]`);
    const direction = input.values.map(() => random.normal());
    directions.set(leaf, direction);
    for (const [i, g] of (gradient?.values ?? []).entries()) {
      const term = g * (direction[i] ?? Number.NaN);
      product += term;
      size += Math.abs(term);
    }
  }
  const slope = slopeOf(graph, found.feeds, directions);
  if (!(Math.abs(product - slope) <= TOLERANCE * Math.max(1, size))) {
    const ops = graph.nodes.map((node) => node.op).join(" ");
    faults.push(`⟨v, Jᵀu⟩ is ${product}, ⟨Jv, u⟩ is ${slope}, on ${ops}`);
  }
  return faults;
}
