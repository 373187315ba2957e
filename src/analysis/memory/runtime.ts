// The memory of a graph as ONNX Runtime hands it out on one thread, without an arena. It differs from
// liveness in what its planner does: an order of its own, buffers that go on to later values of the same
// shape before they are given back, some ops in place, and workspace inside kernels.
// Source: onnxruntime core/framework/allocation_planner.cc, and what malloc was asked for while networks
// of the zoo ran (`npm run bench -- memory`).

import { dtypeBytes } from "../../graph/dtype.ts";
import type { Graph, Node, ValueName, ValueType } from "../../graph/graph.ts";
import { subgraphs } from "../../graph/graph.ts";
import { captures, indexOf, typeOf } from "../../graph/query.ts";
import { isStatic, normalizeAxis } from "../../graph/shape.ts";
import { scanParts } from "../../ops/control.ts";
import { valueBytes } from "../../ops/rules.ts";
import { patternBytes } from "./pattern.ts";
import { workspaceBytes } from "./workspace.ts";

/** What one run takes beside the weights. */
export interface RuntimeMemory {
  /** Inputs, buffers and workspace at their most. */
  readonly peakBytes: number;
  readonly peakNode: string;
}

/** Kernels whose first output always lies in the buffer of their first input. */
const ALIAS = new Set(["Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"]);

/** Kernels that may write over an operand on its last use, with the position of that operand. */
const IN_PLACE: ReadonlyMap<string, number> = new Map(
  [
    ...[
      "Elu",
      "HardSigmoid",
      "LeakyRelu",
      "Relu",
      "Selu",
      "Sigmoid",
      "Softplus",
      "Softsign",
      "Tanh",
    ],
    ...["ThresholdedRelu", "Softmax", "LogSoftmax", "Clip", "Cast", "ScatterElements", "ScatterND"],
  ].map((op): [string, number] => [op, 0]),
);

/** The operand over which the kernel of a node may write on its last use; undefined where there is none. */
export function operandWrittenOver(node: Node): number | undefined {
  return node.domain === "" ? IN_PLACE.get(node.op) : undefined;
}

/** The sum that a fused convolution adds to becomes its output. */
const FUSED_CONV_SUM = 3;

/** One allocation, and the steps between which it is held. */
interface Buffer {
  readonly bytes: number;
  /** Values of the same key can take it over; undefined where none can. */
  readonly key: string | undefined;
  readonly from: number;
  until: number;
  /** Reads still to come, of all values that lie in it. */
  reads: number;
  free: boolean;
  /** Handed to the caller: never part of a block. */
  readonly output: boolean;
}

/** How the runtime is set up. */
export interface RuntimeOptions {
  /**
   * From the second run of the same shapes on, all buffers but the outputs lie in one block, which is there
   * for the whole run. Default false.
   */
  readonly pattern?: boolean;
}

/**
 * What ONNX Runtime takes for one run of a graph whose batch is bound, idioms apart; with a memory pattern, the
 * first run of these shapes or a later one, whichever takes more.
 */
export function runtimeMemory(
  graph: Graph,
  { pattern = false }: RuntimeOptions = {},
): RuntimeMemory {
  const peak = planned(graph, new Set(), pattern);
  // The binding copies the outputs into JavaScript's own memory before it lets go of them.
  const names = (values: Graph["inputs"]): ValueName[] => values.map(({ name }) => name);
  const inputs = names(graph.inputs).filter((name) => !graph.initializers.has(name));
  const peakBytes = bytesOf(graph, inputs) + 2 * bytesOf(graph, names(graph.outputs));
  return peakBytes > peak.peakBytes
    ? { peakBytes, peakNode: graph.nodes.at(-1)?.name ?? "" }
    : peak;
}

/** The same for a body too, of which some values lie in buffers of the node around it. */
function planned(graph: Graph, elsewhere: ReadonlySet<ValueName>, pattern = false): RuntimeMemory {
  const nodes = runtimeOrder(graph);
  const plan = new Plan(graph, nodes, elsewhere);
  nodes.forEach((node, step) => {
    plan.step(node, step);
  });
  // The caller holds its inputs until the run is over.
  const inputs = graph.inputs
    .map(({ name }) => name)
    .filter((name) => !elsewhere.has(name) && !graph.initializers.has(name));
  const inputBytes = bytesOf(graph, inputs);
  const first = peakOf(graph, nodes, plan.buffers, { heldBytes: inputBytes, apart: plan.buffers });
  if (!pattern) return first;
  const block = patternBytes(plan.buffers.filter(({ output }) => !output));
  const outputs = plan.buffers.filter(({ output }) => output);
  const heldBytes = inputBytes + block;
  const later = peakOf(graph, nodes, plan.buffers, { heldBytes, apart: outputs });
  return later.peakBytes > first.peakBytes ? later : first;
}

/** The most that is held while a node runs: `heldBytes` all the time, and those of the buffers that are `apart`. */
function peakOf(
  graph: Graph,
  nodes: readonly Node[],
  buffers: readonly Buffer[],
  { heldBytes, apart }: { heldBytes: number; apart: readonly Buffer[] },
): RuntimeMemory {
  const change = new Float64Array(nodes.length + 1);
  const taken = new Float64Array(nodes.length + 1);
  for (const { bytes, from } of buffers) taken[from] = (taken[from] ?? 0) + bytes;
  for (const { bytes, from, until } of apart) {
    change[from] = (change[from] ?? 0) + bytes;
    change[until + 1] = (change[until + 1] ?? 0) - bytes;
  }
  let held = heldBytes;
  let peak = { peakBytes: held, peakNode: "" };
  nodes.forEach((node, step) => {
    held += change[step] ?? 0;
    const inside = controlBytes(graph, node, taken[step] ?? 0);
    const peakBytes = held + workspaceBytes(graph, node) + inside;
    if (peakBytes > peak.peakBytes) peak = { peakBytes, peakNode: node.name };
  });
  return peak;
}

/**
 * What a node with bodies takes beside its outputs. They are counted with the others when it runs, but are
 * made in the bodies or at their end: `taken` bytes that are not there before.
 * Source: core/providers/cpu/controlflow of onnxruntime.
 */
function controlBytes(graph: Graph, node: Node, taken: number): number {
  const bodies = subgraphs(node);
  const [body] = bodies;
  if (body === undefined) return 0;
  if (node.op === "Loop") return loopBytes(graph, node, body, taken);
  if (node.op === "Scan") return scanBytes(graph, node, body, taken);
  const most = Math.max(...bodies.map((one) => planned(one, new Set()).peakBytes));
  return Math.max(0, most - taken);
}

/** An iteration, with what it got from the one before; at the end all is copied (loop.cc). */
function loopBytes(graph: Graph, node: Node, body: Graph, taken: number): number {
  const carried = node.inputs.length - 2;
  const outputs = body.outputs.map(({ name }) => name);
  const rows = outputs.slice(1 + carried);
  const trips = typeOf(graph, node.outputs[carried] ?? "")?.shape?.[0];
  const kept = ((typeof trips === "number" ? trips : 1) - 1) * bytesOf(body, rows);
  const before = body.inputs.slice(2).map(({ name }) => name);
  const during = planned(body, new Set()).peakBytes + kept - taken;
  const end = bytesOf(body, before) + bytesOf(body, outputs.slice(1)) + kept;
  return Math.max(0, during, end);
}

/**
 * Two buffers for each state, besides that of the last step; slices and rows lie in what is cut and stacked
 * (scan_utils.cc).
 */
function scanBytes(graph: Graph, node: Node, body: Graph, taken: number): number {
  const parts = scanParts(node, graph.opsets.get("") ?? 1);
  if (parts === undefined) return 0;
  const states = body.inputs.slice(0, parts.states).map(({ name }) => name);
  const rows = body.outputs.slice(parts.states).map(({ name }) => name);
  const cut = typeOf(graph, node.inputs[parts.first + parts.states] ?? "")?.shape;
  const steps = cut?.[normalizeAxis(parts.axisOf(parts.states), cut.length) ?? -1];
  const buffers = typeof steps === "number" ? Math.min(2, Math.max(0, steps - 1)) : 2;
  const stacked = bytesOf(graph, node.outputs.slice(parts.states));
  const elsewhere = new Set([...body.inputs.map(({ name }) => name), ...rows]);
  const during = planned(body, elsewhere).peakBytes - Math.max(0, taken - stacked);
  return Math.max(0, buffers * bytesOf(body, states) + during);
}

function bytesOf(graph: Graph, names: readonly ValueName[]): number {
  return names.reduce((sum, name) => sum + (valueBytes(typeOf(graph, name)) ?? 0), 0);
}

/**
 * The order in which the runtime runs the nodes, whatever order the file has: depth first from the ends, the
 * last in the file first, and what a node reads likewise (`GraphViewer`, `Graph::ReverseDFSFrom`).
 */
export function runtimeOrder(graph: Graph): readonly Node[] {
  const known = orders.get(graph.nodes);
  if (known !== undefined) return known;
  const order = orderOf(graph);
  orders.set(graph.nodes, order);
  return order;
}

/** The same for all shapes of one graph. */
const orders = new WeakMap<readonly Node[], readonly Node[]>();

function orderOf(graph: Graph): Node[] {
  const { producers, positions } = indexOf(graph);
  const before = new Map(
    graph.nodes.map((node) => {
      const makers = [...readsOf(node)].flatMap((name) => producers.get(name) ?? []);
      const sorted = [...new Set(makers)].sort(
        (a, b) => (positions.get(a) ?? 0) - (positions.get(b) ?? 0),
      );
      return [node, sorted] as const;
    }),
  );
  const read = new Set([...before.values()].flat());
  const stack = graph.nodes
    .filter((node) => !read.has(node))
    .map((node) => ({ node, left: false }));
  const seen = new Set<Node>();
  const order: Node[] = [];
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    if (top.left) order.push(top.node);
    else if (!seen.has(top.node)) {
      seen.add(top.node);
      stack.push({ node: top.node, left: true });
      for (const node of before.get(top.node) ?? []) {
        if (!seen.has(node)) stack.push({ node, left: false });
      }
    }
  }
  return order;
}

/** What a node reads, in its bodies too; as often as its inputs name it. */
function readsOf(node: Node): readonly ValueName[] {
  const bodies = subgraphs(node).flatMap((body) => [...captures(body)]);
  return [...node.inputs, ...new Set(bodies)].filter((name) => name !== "");
}

/** The planner's state: which buffer each value lies in, and which buffers are free for others. */
class Plan {
  readonly buffers: Buffer[] = [];
  readonly #graph: Graph;
  /** Outputs that are made in a buffer of the node around this graph. */
  readonly #elsewhere: ReadonlySet<ValueName>;
  readonly #last: number;
  readonly #outputs: ReadonlySet<ValueName>;
  readonly #reads = new Map<ValueName, number>();
  readonly #bufferOf = new Map<ValueName, Buffer>();
  /** The one freed last is taken first. */
  readonly #free = new Map<string, Buffer[]>();

  constructor(graph: Graph, nodes: readonly Node[], elsewhere: ReadonlySet<ValueName>) {
    this.#graph = graph;
    this.#elsewhere = elsewhere;
    this.#last = Math.max(0, nodes.length - 1);
    this.#outputs = indexOf(graph).outputs;
    for (const name of nodes.flatMap(readsOf)) {
      this.#reads.set(name, (this.#reads.get(name) ?? 0) + 1);
    }
  }

  step(node: Node, step: number): void {
    const made = node.outputs.filter((name) => name !== "");
    for (const name of made) this.#place(node, name, step);
    for (const name of readsOf(node)) {
      const buffer = this.#bufferOf.get(name);
      if (buffer === undefined) continue;
      buffer.reads--;
      this.#touch(buffer, step);
    }
    for (const name of made) {
      const buffer = this.#bufferOf.get(name);
      if (buffer !== undefined) this.#touch(buffer, step);
    }
  }

  #place(node: Node, name: ValueName, step: number): void {
    // In a body, a node yet; a weight once the model is loaded.
    if (node.op === "Constant" && !this.#outputs.has(name)) return;
    const reads = this.#reads.get(name) ?? 0;
    const type = typeOf(this.#graph, name);
    const key = keyOf(type);
    if (this.#outputs.has(name)) {
      // Handed to the caller: in nobody else's buffer, and free for nobody.
      const bytes = this.#elsewhere.has(name) ? 0 : (valueBytes(type) ?? 0);
      this.#take(name, {
        bytes,
        key: undefined,
        from: step,
        until: this.#last,
        reads,
        free: false,
        output: true,
      });
      return;
    }
    const first = name === node.outputs[0];
    const [viewed = ""] = node.inputs;
    if (first && ALIAS.has(node.op)) {
      // A view of a weight or an input of the graph takes nothing.
      const shared = this.#bufferOf.get(viewed);
      if (shared !== undefined) this.#share(shared, name, reads);
      return;
    }
    const over = first ? this.#writableOperand(node, key) : undefined;
    const reused = over ?? this.#free.get(key ?? "")?.pop();
    if (reused !== undefined) {
      this.#share(reused, name, reads);
      return;
    }
    const bytes = valueBytes(type) ?? 0;
    this.#take(name, { bytes, key, from: step, until: step, reads, free: false, output: false });
  }

  #take(name: ValueName, buffer: Buffer): void {
    this.buffers.push(buffer);
    this.#bufferOf.set(name, buffer);
  }

  #share(buffer: Buffer, name: ValueName, reads: number): void {
    buffer.reads += reads;
    buffer.free = false;
    this.#bufferOf.set(name, buffer);
  }

  /** The buffer of an operand that nobody else reads and that has the shape of the output. */
  #writableOperand(node: Node, key: string | undefined): Buffer | undefined {
    const fused = node.op === "FusedConv" || node.op === "NhwcFusedConv";
    const position = fused ? FUSED_CONV_SUM : IN_PLACE.get(node.op);
    const name = position === undefined ? "" : (node.inputs[position] ?? "");
    const buffer = this.#bufferOf.get(name);
    const fits = key !== undefined && keyOf(typeOf(this.#graph, name)) === key;
    return buffer?.reads === 1 && fits ? buffer : undefined;
  }

  #touch(buffer: Buffer, step: number): void {
    buffer.until = Math.max(buffer.until, step);
    if (buffer.reads > 0 || buffer.key === undefined || buffer.free) return;
    buffer.free = true;
    const same = this.#free.get(buffer.key);
    if (same === undefined) this.#free.set(buffer.key, [buffer]);
    else same.push(buffer);
  }
}

/** What has to be equal for one buffer to serve both: the shape and the bytes of an element. Not scalars. */
function keyOf(type: ValueType | undefined): string | undefined {
  if (!isStatic(type?.shape) || type.shape.length === 0 || type.dtype === "string")
    return undefined;
  return `${dtypeBytes(type.dtype, 1)}:${type.shape.join("x")}`;
}
