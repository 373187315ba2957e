// Second derivatives: the gradients of a case, weighted and summed, are a loss in turn. What the graph of its
// gradients gives is compared with central differences of the first ones, in float64.

import { messageOf, SkipwayError } from "../../src/base/errors.ts";
import { Random } from "../../src/base/random.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { verify } from "../../src/ops/verify.ts";
import { differentiate } from "../../src/passes/gradient/differentiate.ts";
import { evaluate } from "../float64/evaluate.ts";
import type { GradientCase } from "./case.ts";
import { lossAlong, type Problem, problemOf } from "./check.ts";
import { withWeightedSum } from "./weighted-sum.ts";

const SECOND = "second";

/** Larger than for first derivatives: what is differenced has been through the oracle twice as long. */
const EPSILON = 1e-5;
const ABSOLUTE = 1e-5;
const RELATIVE = 1e-3;
const DIRECTIONS = 3;

/** How the gradient of an op's gradient fares. */
export type SecondFinding =
  | { readonly kind: "same"; readonly worst: number }
  /** The gradient does not depend on what it is differentiated for: the op is linear. */
  | { readonly kind: "zero" }
  /** A node of the gradient has no gradient; the finding names it. */
  | { readonly kind: "refused"; readonly reason: string }
  | { readonly kind: "wrong"; readonly faults: readonly string[] };

/** Checks one case with inputs drawn from a seed. */
export function checkSecond(one: GradientCase, seed: number): SecondFinding {
  const problem = problemOf(one, new Random(seed, 1));
  const first = weighted(problem, new Random(seed, 4));
  const gradients = secondOf(first);
  if ("kind" in gradients) return gradients;
  const told = verify(gradients.graph).filter((fault) => fault.severity !== "info");
  const faults = told.map((fault) => `${fault.id}: ${fault.where} ${fault.text}`);
  const values = evaluate(gradients.graph, problem.feeds);
  let [worst, scale] = [0, 1];
  for (const name of problem.wrt) {
    const start = problem.feeds.get(name);
    if (start === undefined) continue;
    const found = values.get(gradients.of.get(name) ?? "");
    if (found !== undefined && found.shape.join() !== start.shape.join()) {
      faults.push(`the second gradient of ${name} is [${found.shape}], not [${start.shape}]`);
      continue;
    }
    const loss = lossAlong(first, name, SECOND);
    const random = new Random(start.values.length, 5);
    for (const v of found?.values ?? []) scale = Math.max(scale, Math.abs(v));
    for (let n = 0; n < DIRECTIONS; n++) {
      const along = start.values.map(() => random.normal() / Math.sqrt(start.values.length));
      const moved = (by: number): number =>
        loss(start.values.map((v, i) => v + by * (along[i] ?? 0)));
      const expected = (moved(EPSILON) - moved(-EPSILON)) / (2 * EPSILON);
      const product = along.reduce((sum, d, i) => sum + d * (found?.values[i] ?? 0), 0);
      const error = Math.abs(product - expected);
      worst = Math.max(worst, error / scale);
      if (error <= ABSOLUTE * scale + RELATIVE * Math.abs(expected)) continue;
      faults.push(`the second gradient of ${name} is ${product}, differences say ${expected}`);
    }
  }
  if (faults.length > 0) return { kind: "wrong", faults };
  return gradients.of.size === 0 ? { kind: "zero" } : { kind: "same", worst };
}

/** The problem whose loss is Σ gradients · random numbers. */
function weighted(problem: Problem, random: Random): Problem {
  const { graph, gradients } = differentiate(problem.graph, { loss: "loss", wrt: problem.wrt });
  const parts = new Map(
    problem.wrt.map((name) => [gradients.get(name) ?? "", problem.feeds.get(name)?.shape ?? []]),
  );
  return { ...problem, graph: withWeightedSum(graph, { parts, loss: SECOND, random }) };
}

function secondOf(
  problem: Problem,
): { readonly graph: Graph; readonly of: ReadonlyMap<string, string> } | SecondFinding {
  try {
    const { graph, gradients } = differentiate(problem.graph, {
      ...{ loss: SECOND, wrt: problem.wrt },
      unreached: "leave-out",
    });
    return { graph, of: gradients };
  } catch (error) {
    if (!(error instanceof SkipwayError)) return { kind: "wrong", faults: [messageOf(error)] };
    return { kind: "refused", reason: messageOf(error) };
  }
}
