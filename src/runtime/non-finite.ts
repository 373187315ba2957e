// Where a computation first gives a number that is none: the graph is run again, and of every value it is counted
// how many elements are NaN or infinite. Only counts leave the runtime, and values are looked at in groups of a
// bounded size, because a value that is looked at stays in memory until then.

import { present } from "../base/assert.ts";
import { limits } from "../base/limits.ts";
import { decideBranches } from "../canonical/decide.ts";
import { FreshNames } from "../canonical/fresh-names.ts";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { inlineFunctions } from "../canonical/inline.ts";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import { type DType, dtypeBytes, isComputedFloat } from "../graph/dtype.ts";
import { type Graph, int, type Node, type ValueName } from "../graph/graph.ts";
import { typeOf } from "../graph/query.ts";
import { elementCount } from "../graph/shape.ts";
import { hasBytes, int64Values, numbersOf, scalarOf, type Tensor } from "../graph/tensor.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { castTo, shapeConstant } from "../ops/construct.ts";
import { reaching, readBy } from "../passes/gradient/paths.ts";
import { inProcessRunner } from "./in-process.ts";
import type { Tensors } from "./runner.ts";

/** What a tensor holds, in short. */
export interface TensorRange {
  readonly name: ValueName;
  readonly dtype: DType;
  readonly elements: number;
  /** Least and greatest of the finite elements; NaN where there is none. */
  readonly min: number;
  readonly max: number;
  /** How many elements are NaN, and how many are infinite. */
  readonly nan: number;
  readonly infinite: number;
}

/** The first node that made a number that is none. */
export interface NonFinite {
  /** Name and op of the node; undefined where the value was given, as an input or a weight. */
  readonly node: { readonly name: string; readonly op: string } | undefined;
  /** What it made, or what was given. */
  readonly value: TensorRange;
  /** What it read, in its bodies too: tensors of numbers alone. */
  readonly inputs: readonly TensorRange[];
}

/** Bytes of values that are looked at in one run. */
const GROUP_BYTES = 67_108_864;
/** Values that are looked at in one run. */
const GROUP_VALUES = 256;
/** Bytes of a value whose size is not known. */
const UNKNOWN_BYTES = 1_048_576;

/** Elements of one value that are no finite numbers. */
interface Count {
  readonly nan: number;
  readonly infinite: number;
}

const NONE: Count = { nan: 0, infinite: 0 };

/**
 * The first node in the order of the graph that makes NaN out of inputs without NaN, or infinity out of finite
 * inputs; undefined where there is none. An infinity that was given, such as the one that hides what is masked,
 * and what follows from it alone is no finding; NaN that was given is one. Nodes in branches that
 * are taken are found; of those in the body of a `Loop` or `Scan` the finding names the node around them.
 *
 * @param feeds All inputs of the graph.
 * @throws SkipwayError as `Session.run`.
 */
export async function firstNonFinite(graph: Graph, feeds: Tensors): Promise<NonFinite | undefined> {
  const whole = await withTakenBranches(inferShapes(inlineFunctions(graph)), feeds);
  const counts = new Map<ValueName, Count>();
  for (const [name, ref] of [...feeds, ...whole.initializers]) {
    if (counts.has(name) || !isComputedFloat(ref.dtype) || !hasBytes(ref)) continue;
    const count = countOf(ref);
    counts.set(name, count);
    if (count.nan > 0) return told(whole, feeds, { name });
  }
  for (const group of groupsOf(whole)) {
    const names = group.flatMap((node) => watchedOf(whole, node));
    for (const [name, count] of await counted(whole, feeds, names)) counts.set(name, count);
    const found = group.flatMap((node) => {
      const name = watchedOf(whole, node).find((output) => isNew(node, output, counts));
      return name === undefined ? [] : [{ node, name }];
    });
    const [first] = found;
    if (first !== undefined) return told(whole, feeds, first);
  }
  return undefined;
}

/** The graph with the branch that is taken in the place of every `If`, those in branches too. */
async function withTakenBranches(graph: Graph, feeds: Tensors): Promise<Graph> {
  let current = graph;
  for (let depth = 0; depth < limits.subgraphDepthMax; depth++) {
    const choices = current.nodes.filter((node) => node.op === "If" && node.domain === "");
    if (choices.length === 0) break;
    const conditions = [...new Set(choices.map(({ inputs }) => inputs[0] ?? ""))];
    const builder = partOf(current, conditions);
    const told = conditions.map((name) => builder.emit("Identity", [name]));
    for (const name of told) builder.output({ name, dtype: "bool", shape: undefined });
    const results = await run(builder, current, feeds);
    const fresh = new FreshNames(current);
    const known = new Map(
      conditions.map((name, i) => {
        const value = present(results.get(told[i] ?? ""), name);
        return [name, constantNode(fresh.value(`${name}.taken`), value)] as const;
      }),
    );
    const decided = current.nodes.map((node) => {
      const condition = choices.includes(node) ? known.get(node.inputs[0] ?? "") : undefined;
      return condition === undefined ? node : { ...node, inputs: condition.outputs };
    });
    const nodes = [...known.values(), ...decided];
    current = decideBranches({ ...current, nodes });
  }
  return current;
}

function constantNode(name: ValueName, value: Tensor): Node {
  const attributes = new Map([["value", { kind: "tensor", value } as const]]);
  return { name, op: "Constant", domain: "", inputs: [], outputs: [name], attributes };
}

function countOf(ref: Tensor): Count {
  let [nan, infinite] = [0, 0];
  for (const value of numbersOf(ref) ?? []) {
    if (Number.isNaN(value)) nan++;
    else if (!Number.isFinite(value)) infinite++;
  }
  return { nan, infinite };
}

/** Whether an output has what no input had. */
function isNew(node: Node, output: ValueName, counts: ReadonlyMap<ValueName, Count>): boolean {
  const own = counts.get(output) ?? NONE;
  const inputs = readBy(node).map((name) => counts.get(name) ?? NONE);
  if (own.nan > 0 && inputs.every((one) => one.nan === 0)) return true;
  return own.infinite > 0 && inputs.every((one) => one.nan === 0 && one.infinite === 0);
}

/** Outputs of a node that are tensors of floats. */
function watchedOf(graph: Graph, node: Node): ValueName[] {
  return node.outputs.filter((name) => {
    const type = name === "" ? undefined : typeOf(graph, name);
    return type !== undefined && type.container === undefined && isComputedFloat(type.dtype);
  });
}

/** Nodes in their order, as many together as their outputs may take memory at once. */
function groupsOf(graph: Graph): Node[][] {
  const groups: Node[][] = [];
  let [bytes, values] = [Number.POSITIVE_INFINITY, 0];
  for (const node of graph.nodes) {
    const names = watchedOf(graph, node);
    const own = names.reduce((sum, name) => sum + bytesOf(graph, name), 0);
    if (bytes + own > GROUP_BYTES || values + names.length > GROUP_VALUES) {
      groups.push([]);
      [bytes, values] = [0, 0];
    }
    groups.at(-1)?.push(node);
    bytes += own;
    values += names.length;
  }
  return groups;
}

function bytesOf(graph: Graph, name: ValueName): number {
  const type = typeOf(graph, name);
  const count = elementCount(type?.shape);
  return type === undefined || count === undefined ? UNKNOWN_BYTES : dtypeBytes(type.dtype, count);
}

const nameOf = ({ name }: { readonly name: ValueName }): ValueName => name;

/** A builder over the part of a graph that some values need. */
function partOf(graph: Graph, names: readonly ValueName[]): TypedBuilder {
  const read = reaching(graph.nodes, names);
  const nodes = graph.nodes.filter((node) => node.outputs.some((name) => read.has(name)));
  const initializers = new Map([...graph.initializers].filter(([name]) => read.has(name)));
  // Types of what is left out would hold for new values of the same name.
  const made = new Set([...nodes.flatMap(({ outputs }) => outputs), ...graph.inputs.map(nameOf)]);
  const values = new Map([...graph.values].filter(([name]) => made.has(name)));
  return new TypedBuilder({ ...graph, nodes, initializers, values, outputs: [] });
}

async function run(builder: TypedBuilder, graph: Graph, feeds: Tensors): Promise<Tensors> {
  const part = builder.finish(graph.name, graph.opsets);
  await using session = await inProcessRunner().load(
    { bytes: encodeModel(modelOf(part)) },
    { memoryPattern: false },
  );
  return session.run(new Map([...feeds].filter(([name]) => session.inputs.has(name))));
}

/** How many elements of each value are no finite numbers. */
async function counted(
  graph: Graph,
  feeds: Tensors,
  names: readonly ValueName[],
): Promise<Map<ValueName, Count>> {
  if (names.length === 0) return new Map();
  const builder = partOf(graph, names);
  const parts = names.flatMap((name) => countsIn(builder, name));
  const all = builder.emit("Concat", parts, { attributes: { axis: int(0) } });
  builder.output({ name: all, dtype: "int64", shape: [parts.length] });
  const found = [...int64Values(present((await run(builder, graph, feeds)).get(all), all))];
  return new Map(
    names.map((name, i) => [
      name,
      { nan: Number(found[2 * i] ?? 0n), infinite: Number(found[2 * i + 1] ?? 0n) },
    ]),
  );
}

/** The numbers of NaN and of infinite elements, int64 `[1]` each. */
function countsIn(builder: TypedBuilder, name: ValueName): [ValueName, ValueName] {
  const x = widened(builder, name);
  const count = (op: string): ValueName => {
    const flags = castTo(builder, builder.emit(op, [x]), "int64");
    const total = builder.emit("ReduceSum", [flags], { attributes: { keepdims: int(0) } });
    return builder.emit("Reshape", [total, shapeConstant(builder, [1])]);
  };
  return [count("IsNaN"), count("IsInf")];
}

/** Half precision as single, which the ops of this file take everywhere. */
function widened(builder: TypedBuilder, name: ValueName): ValueName {
  const dtype = builder.typeOf(name)?.dtype;
  return dtype === "float32" || dtype === "float64" ? name : castTo(builder, name, "float32");
}

/** The finding of a value, with the ranges of what its node read. */
async function told(
  graph: Graph,
  feeds: Tensors,
  found: { readonly node?: Node; readonly name: ValueName },
): Promise<NonFinite> {
  const { node, name } = found;
  const read = (node === undefined ? [] : readBy(node)).filter((one) => isNumbers(graph, one));
  const names = [...new Set([name, ...read])];
  const builder = partOf(graph, names);
  const lists = names.map((one) => rangeIn(builder, one));
  for (const list of lists) builder.output({ name: list, dtype: "float64", shape: [5] });
  const results = await run(builder, graph, feeds);
  const ranges = names.map((one, i): TensorRange => {
    const numbers = numbersOf(present(results.get(lists[i] ?? ""), one)) ?? [];
    const [nan = 0, infinite = 0, elements = 0, min = Number.NaN, max = Number.NaN] = numbers;
    const { dtype } = present(typeOf(graph, one), one);
    const none = elements === nan + infinite;
    const bounds = none ? { min: Number.NaN, max: Number.NaN } : { min, max };
    return { name: one, dtype, elements, ...bounds, nan, infinite };
  });
  const [value, ...inputs] = ranges;
  return {
    node: node && { name: node.name, op: node.op },
    value: present(value, "a value has a range"),
    inputs,
  };
}

function isNumbers(graph: Graph, name: ValueName): boolean {
  const type = name === "" ? undefined : typeOf(graph, name);
  return type !== undefined && type.container === undefined && type.dtype !== "string";
}

/** Counts of NaN, of infinities and of all elements, and the bounds of the finite ones: float64 `[5]`. */
function rangeIn(builder: TypedBuilder, name: ValueName): ValueName {
  const x = castTo(builder, name, "float64");
  const flat = builder.emit("Reshape", [x, shapeConstant(builder, [-1])]);
  const bad = builder.emit("Or", [builder.emit("IsNaN", [flat]), builder.emit("IsInf", [flat])]);
  const bound = (op: string, limit: number): ValueName => {
    const far = builder.constant(scalarOf("float64", limit), "limit");
    const finite = builder.emit("Where", [bad, far, flat]);
    // One more element: nothing has no least one.
    const one = builder.emit("Reshape", [far, shapeConstant(builder, [1])]);
    const all = builder.emit("Concat", [finite, one], { attributes: { axis: int(0) } });
    return builder.emit(op, [all], { attributes: { keepdims: int(1) } });
  };
  const size = builder.emit("Reshape", [builder.emit("Size", [flat]), shapeConstant(builder, [1])]);
  const counts = [...countsIn(builder, flat), size].map((one) => castTo(builder, one, "float64"));
  const bounds = [
    bound("ReduceMin", Number.POSITIVE_INFINITY),
    bound("ReduceMax", Number.NEGATIVE_INFINITY),
  ];
  return builder.emit("Concat", [...counts, ...bounds], { attributes: { axis: int(0) } });
}
