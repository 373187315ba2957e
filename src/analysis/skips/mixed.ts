// Streams that lie side by side in one tensor and are mixed by a small matrix: hyper-connections.

import { type Node, stringAttribute, type ValueName } from "../../graph/graph.ts";
import type { Shape } from "../../graph/shape.ts";
import { axisThrough } from "./axis.ts";
import { describe } from "./describe.ts";
import type { Flow } from "./flow.ts";
import type { Fusion, Operand } from "./fusion.ts";
import { type Finder, matchOf } from "./match.ts";
import { wordOf } from "./vocabulary.ts";

/** More streams than that are no streams; papers have 2 to 8. */
const STREAMS_MAX = 16;

const MULTI_STREAM = { kind: "multi-stream" } as const;

/**
 * X ← A·X + b·F(a·X): a matrix mixes the streams, and what a layer makes of them is written to all (Zhu et
 * al. 2024, hyper-connections, 2409.19606, equation 3). One skip for each such sum.
 */
export const mixedStreams: Finder = (flow, fusion) => {
  if (fusion.form !== "additive") return [];
  for (const operand of fusion.operands) {
    const mixed = mixingOf(flow, operand.value);
    if (mixed === undefined) continue;
    const match = matchOf(flow, fusion, operand, { end: mixed.stream });
    if (match === undefined) continue;
    if (!match.branches.some((branch) => isSpread(flow, fusion, branch, mixed))) continue;
    const nodes = [...mixed.nodes, ...match.step.nodes];
    const step = { ...match.step, nodes };
    return [describe(flow, { ...match, step }, MULTI_STREAM)];
  }
  return [];
};

/** A value whose streams are mixed by a square matrix. */
interface Mixing {
  readonly stream: ValueName;
  readonly count: number;
  /** Of the streams in the mixed value, from the end: -1 is the last. */
  readonly axis: number;
  /** From the mixed value back to the streams. */
  readonly nodes: readonly Node[];
}

/** What a node mixes: the streams, how many, and their axis in its result. */
type Mixed = Pick<Mixing, "stream" | "count" | "axis">;

function mixingOf(flow: Flow, value: ValueName): Mixing | undefined {
  const step = flow.shortcut(value, false).at(-1);
  const node = flow.producer(step?.value ?? "");
  if (step === undefined || node === undefined) return undefined;
  const pairs = wordOf(node) === "ReduceSum" ? overPairs(flow, node) : undefined;
  const mixed = pairs ?? byProduct(flow, node);
  const after = step.nodes.toReversed();
  const axis = mixed && axisThrough(flow, after, mixed.axis);
  if (mixed === undefined || axis === undefined) return undefined;
  const product = pairs === undefined ? undefined : flow.producer(node.inputs[0] ?? "");
  const own = product === undefined ? [node] : [node, product];
  return { ...mixed, axis, nodes: [...step.nodes, ...own] };
}

const PRODUCTS = new Set(["MatMul", "FusedMatMul", "Gemm", "Linear"]);

function byProduct(flow: Flow, node: Node): Mixed | undefined {
  const word = wordOf(node);
  const [left = "", right = ""] = node.inputs;
  if (word === "Einsum")
    return byEinsum(flow, node, [left, right]) ?? byEinsum(flow, node, [right, left]);
  if (!PRODUCTS.has(word)) return undefined;
  for (const [matrix, stream, axis] of [
    [left, right, -2],
    [right, left, -1],
  ] as const) {
    const count = orderIn(flow.typeOf(matrix)?.shape?.slice(-2));
    if (count !== undefined && flow.activations.has(stream)) return { stream, count, axis };
  }
  return undefined;
}

function orderIn(sizes: Shape | undefined): number | undefined {
  const [rows, columns] = sizes ?? [];
  const square = typeof rows === "number" && rows === columns;
  return square && rows > 1 && rows <= STREAMS_MAX ? rows : undefined;
}

/** The letters of an equation of two operands; an ellipsis is a dot. */
function lettersOf(node: Node): { terms: readonly string[]; result: string } | undefined {
  const equation = stringAttribute(node, "equation", "").replace(/\s/g, "");
  const [given = "", result] = equation.replaceAll("...", ".").split("->");
  const terms = given.split(",");
  return result === undefined || terms.length !== 2 ? undefined : { terms, result };
}

/** The axis of a letter, from the end, in a value of that rank. */
function axisOf(term: string, letter: string, rank: number): number {
  const at = term.indexOf(letter);
  const dots = term.indexOf(".");
  return at - (dots < 0 || at < dots ? rank : term.length);
}

/** An Einsum that sums over one letter of a matrix and gives another one in its place. */
function byEinsum(
  flow: Flow,
  node: Node,
  [matrix, stream]: readonly [ValueName, ValueName],
): Mixed | undefined {
  const letters = lettersOf(node);
  const [own = "", other = ""] =
    node.inputs[0] === matrix ? (letters?.terms ?? []) : (letters?.terms.toReversed() ?? []);
  const result = letters?.result ?? "";
  const [summed, ...more] = [...own].filter((one) => other.includes(one) && !result.includes(one));
  const [made, ...further] = [...own].filter((one) => result.includes(one) && !other.includes(one));
  if (summed === undefined || made === undefined || more.length + further.length > 0)
    return undefined;
  const shape = flow.typeOf(matrix)?.shape ?? [];
  const rank = flow.typeOf(node.outputs[0] ?? "")?.shape?.length;
  const size = (letter: string) => shape.at(axisOf(own, letter, shape.length)) ?? "?";
  const count = orderIn([size(summed), size(made)]);
  if (count === undefined || rank === undefined || !flow.activations.has(stream)) return undefined;
  return { stream, count, axis: axisOf(result, made, rank) };
}

/** The same as a product of pairs, [n, n, …] · [1, n, …], summed over the second of the two axes. */
function overPairs(flow: Flow, node: Node): Mixed | undefined {
  const product = flow.producer(node.inputs[0] ?? "");
  if (product === undefined || wordOf(product) !== "Mul") return undefined;
  const whole = flow.typeOf(product.outputs[0] ?? "")?.shape;
  const sum = flow.typeOf(node.outputs[0] ?? "")?.shape;
  if (whole === undefined || sum === undefined) return undefined;
  for (const [matrix = "", stream = ""] of [product.inputs, product.inputs.toReversed()]) {
    const [a, b] = [matrix, stream].map((name) => aligned(flow.typeOf(name)?.shape, whole.length));
    if (a === undefined || b === undefined || !flow.activations.has(stream)) continue;
    for (const [made, count] of whole.entries()) {
      const summed = whole.findIndex((dim, at) => at !== made && dim === count && a[at] === count);
      if (
        b[made] !== 1 ||
        a[made] !== count ||
        orderIn([count, whole[summed] ?? "?"]) === undefined
      ) {
        continue;
      }
      const axis = axisAfter(sum, whole, { summed, made });
      if (axis !== undefined && typeof count === "number") return { stream, count, axis };
    }
  }
  return undefined;
}

/** Where an axis is when another has been summed over; undefined if it is not that one that has gone. */
function axisAfter(
  sum: Shape,
  whole: Shape,
  { summed, made }: { summed: number; made: number },
): number | undefined {
  const kept = sum.length === whole.length;
  const expected = kept ? whole.with(summed, 1) : whole.toSpliced(summed, 1);
  if (sum.length !== expected.length || !sum.every((dim, i) => dim === expected[i]))
    return undefined;
  return (!kept && made > summed ? made - 1 : made) - sum.length;
}

/** A shape with ones in front, as broadcasting reads it. */
function aligned(shape: Shape | undefined, rank: number): Shape | undefined {
  if (shape === undefined || shape.length > rank) return undefined;
  return [...new Array<number>(rank - shape.length).fill(1), ...shape];
}

/** Whether an operand is one thing written to all streams: somewhere on its way their axis becomes n from 1. */
function isSpread(flow: Flow, fusion: Fusion, { value }: Operand, mixed: Mixing): boolean {
  const whole = flow.typeOf(fusion.output)?.shape;
  const own = whole && aligned(flow.typeOf(value)?.shape, whole.length);
  // The sum itself may spread it.
  if (whole?.at(mixed.axis) === mixed.count && own?.at(mixed.axis) === 1) return true;
  const steps = flow.shortcut(value, false).at(-1);
  const end = flow.producer(steps?.value ?? "");
  const nodes = [...(end === undefined ? [] : [end]), ...(steps?.nodes.toReversed() ?? [])];
  return nodes.some((node, i) =>
    spreadAxes(flow, node, mixed.count).some(
      (axis) => axisThrough(flow, nodes.slice(i + 1), axis) === mixed.axis,
    ),
  );
}

/** The axes, from the end, along which a node spreads what it takes in. */
function spreadAxes(flow: Flow, node: Node, count: number): readonly number[] {
  const after = flow.typeOf(node.outputs[0] ?? "")?.shape;
  if (after === undefined) return [];
  const word = wordOf(node);
  const isCount = (axis: number): boolean => after.at(axis) === count;
  if (word === "MatMul") {
    // A column times a row.
    const outer = flow.typeOf(node.inputs[0] ?? "")?.shape?.at(-1) === 1;
    return outer ? [-1, -2].filter(isCount) : [];
  }
  const letters = word === "Einsum" ? lettersOf(node) : undefined;
  const axes = after.map((_, axis) => axis - after.length).filter(isCount);
  if (letters !== undefined) {
    const { terms, result } = letters;
    const spread = [...result].filter((letter) => terms.some((term) => !term.includes(letter)));
    const found = new Set(spread.map((letter) => axisOf(result, letter, after.length)));
    return axes.filter((axis) => found.has(axis));
  }
  if (PRODUCTS.has(word)) return [];
  return axes.filter((axis) =>
    flow
      .activationInputs(node)
      .some((name) => aligned(flow.typeOf(name)?.shape, after.length)?.at(axis) === 1),
  );
}
