// Interpolation a + w·(b - a), as PyTorch writes `lerp`: for weights from one half on it is computed from the
// other end, b - (b - a)·(1 - w), which is the same number with less error. One of the two is enough to read.

import type { Node, ValueName } from "../../graph/graph.ts";
import type { Idiom, Match, View } from "./view.ts";

/** Where(w < ½, a + w·(b - a), b - (b - a)·(1 - w)), read as its first branch. */
export const lerp: Idiom = {
  name: "interpolation",
  roots: ["Where"],
  *match(view, root): Generator<Match> {
    const [condition = "", near = "", far = ""] = root.inputs;
    const sum = view.made(near, "Add");
    const rest = view.made(far, "Sub");
    if (sum === undefined || rest === undefined) return;
    const [end = "", back = ""] = rest.inputs;
    for (const [start, step] of view.operands(sum)) {
      for (const weight of factorsBeside(view, step, { start, end })) {
        const test = halves(view, condition, weight);
        const way = view.made(back, "Mul");
        const found = way && openWeight(view, way, { start, end, weight });
        if (test === undefined || way === undefined || found === undefined) continue;
        const nodes = [...test, sum, rest, way, ...found];
        yield { op: "Add", inputs: [start, step], nodes };
      }
    }
  },
};

interface Ends {
  readonly start: ValueName;
  readonly end: ValueName;
}

/** The weights w for which a value is w·(end - start). */
function factorsBeside(view: View, name: ValueName, ends: Ends): ValueName[] {
  const product = view.made(name, "Mul");
  if (product === undefined) return [];
  return view
    .operands(product)
    .filter(([, way]) => isWay(view, way, ends))
    .map(([weight]) => weight);
}

function isWay(view: View, name: ValueName, { start, end }: Ends): boolean {
  const node = view.made(name, "Sub");
  return node?.inputs[0] === end && node.inputs[1] === start;
}

/** The nodes that make 1 - w, if a product is (end - start)·(1 - w). */
function openWeight(
  view: View,
  product: Node,
  { weight, ...ends }: Ends & { readonly weight: ValueName },
): Node[] | undefined {
  for (const [way, open] of view.operands(product)) {
    const node = view.made(open, "Sub");
    if (node === undefined || !isWay(view, way, ends)) continue;
    if (view.scalar(node.inputs[0] ?? "") === 1 && node.inputs[1] === weight) return [node];
  }
  return undefined;
}

/** The nodes that ask whether w, or its size, is below one half. */
function halves(view: View, condition: ValueName, weight: ValueName): Node[] | undefined {
  const less = view.made(condition, "Less");
  const [given = "", half = ""] = less?.inputs ?? [];
  if (less === undefined || view.scalar(half) !== 0.5) return undefined;
  if (given === weight) return [less];
  const size = view.made(given, "Abs");
  return size?.inputs[0] === weight ? [less, size] : undefined;
}
