// What is carried from one round of a Loop or Scan to the next, and how many rounds there are.

import type { Content, KnownValues } from "../../canonical/known.ts";
import { propagate } from "../../canonical/propagate.ts";
import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { elementCount, normalizeAxis } from "../../graph/shape.ts";
import { int64, numbersOf } from "../../graph/tensor.ts";
import { scanParts } from "../../ops/control.ts";
import { Flow } from "./flow.ts";

/** A value that the body takes over from the round before: its name inside, and what the next round takes. */
export interface State {
  readonly input: ValueName;
  readonly output: ValueName;
}

/** A Loop or Scan with its body. `flow` is that of the graph in which the node stands. */
export interface Looping {
  readonly node: Node;
  readonly body: Graph;
  readonly flow: Flow;
}

/** The loop that a node is; undefined for other nodes, and for loops without a body. */
export function loopOf(flow: Flow, node: Node): Looping | undefined {
  const body = node.attributes.get("body");
  const loops = node.domain === "" && (node.op === "Loop" || node.op === "Scan");
  return loops && body?.kind === "graph" ? { node, body: body.value, flow } : undefined;
}

/** The states of a loop, in order (ONNX Loop-21, Scan-21: states first, then what is cut or stacked). */
export function statesOf({ node, body, flow }: Looping): readonly State[] {
  const loop = node.op === "Loop";
  const count = loop ? node.inputs.length - 2 : partsOf(flow, node)?.states;
  // Before its states a Loop has the counter and the condition; among its results, the condition.
  const [inputs, outputs] = loop ? [2, 1] : [0, 0];
  return Array.from({ length: Math.max(0, count ?? 0) }, (_, i) => ({
    input: body.inputs[inputs + i]?.name ?? "",
    output: body.outputs[outputs + i]?.name ?? "",
  })).filter(({ input, output }) => input !== "" && output !== "");
}

function partsOf(flow: Flow, node: Node): ReturnType<typeof scanParts> {
  return scanParts(node, flow.opset);
}

/**
 * How many rounds a loop makes, if the file says so: the length that a Scan cuts, the count of a Loop that
 * nothing ends before, or the round in which the integers that a Loop counts with end it.
 */
export function tripsOf(loop: Looping): number | undefined {
  return loop.node.op === "Loop" ? new Counting(loop).rounds() : lengthOf(loop);
}

function lengthOf({ node, flow }: Looping): number | undefined {
  const parts = partsOf(flow, node);
  if (parts === undefined) return undefined;
  for (let i = parts.states; i + parts.first < node.inputs.length; i++) {
    const shape = flow.typeOf(node.inputs[i + parts.first] ?? "")?.shape;
    const axis = shape && normalizeAxis(parts.axisOf(i), shape.length);
    const dim = axis === undefined ? undefined : shape?.[axis];
    if (typeof dim === "number") return dim;
  }
  return undefined;
}

/** Nodes that are looked at, in all rounds together, to find out when a Loop ends. */
const VISITS_MAX = 20_000;

/** Runs what a Loop counts with: integers, and the comparisons that end it. */
class Counting {
  readonly #loop: Looping;
  readonly #inside: Flow;
  readonly #states: readonly State[];
  /** The nodes from which the condition and the counters come. */
  readonly #nodes: readonly Node[];
  readonly #goOn: ValueName;

  constructor(loop: Looping) {
    this.#loop = loop;
    this.#inside = new Flow(loop.body, loop);
    this.#goOn = loop.body.outputs[0]?.name ?? "";
    const counts = (name: ValueName): boolean => /^u?int|^bool/.test(this.#typeOf(name));
    this.#states = statesOf(loop).filter(({ input }) => counts(input));
    this.#nodes = this.#behind([this.#goOn, ...this.#states.map(({ output }) => output)]);
  }

  #typeOf(name: ValueName): string {
    return this.#inside.typeOf(name)?.dtype ?? "";
  }

  #behind(names: readonly ValueName[]): Node[] {
    const wanted = new Set<Node>();
    const open = [...names];
    for (let name = open.pop(); name !== undefined; name = open.pop()) {
      const node = this.#inside.producer(name);
      if (node === undefined || wanted.has(node)) continue;
      wanted.add(node);
      // Of a value whose shape is asked for, the contents do not matter.
      if (node.op !== "Shape" && node.op !== "Size") open.push(...node.inputs);
    }
    return this.#loop.body.nodes.filter((node) => wanted.has(node));
  }

  /** The number of rounds, if all that decides it is known. */
  rounds(): number | undefined {
    const { node, flow, body } = this.#loop;
    const [count = "", start = ""] = node.inputs;
    const given = count === "" ? Number.POSITIVE_INFINITY : integerOf(flow, count);
    if (given === undefined || (start !== "" && integerOf(flow, start) !== 1)) return undefined;
    // Exporters write the largest integer for a loop that a condition alone ends.
    const most = Number.isSafeInteger(given) ? given : undefined;
    const initial = node.inputs.slice(2);
    let held = new Map<ValueName, Content>();
    for (const [i, { name }] of body.inputs.slice(2).entries()) {
      const value = integerOf(flow, initial[i] ?? "");
      if (Number.isSafeInteger(value)) held.set(name, single(value ?? 0));
    }
    const [round = "", goOn = ""] = body.inputs.map(({ name }) => name);
    for (let i = 0, visits = 0; most === undefined || i < most; i++) {
      const ends = this.#play(new Map([...held, [round, single(i)], [goOn, single(1)]]));
      if (ends.goOn === undefined) return undefined;
      if (ends.goOn === 0) return i + 1;
      // Where nothing that changes decides, the rounds are those that are asked for.
      if (ends.always) return most;
      visits += this.#nodes.length + 1;
      if (visits > VISITS_MAX) return undefined;
      held = ends.held;
    }
    return most;
  }

  /** One round with the contents that it starts from. */
  #play(contents: Map<ValueName, Content>): {
    goOn: number | undefined;
    always: boolean;
    held: Map<ValueName, Content>;
  } {
    const inside = this.#inside;
    const known: KnownValues = {
      typeOf: (name) => inside.typeOf(name),
      constantOf: (name) => inside.constantOf(name),
      contentOf: (name) => contents.get(name),
    };
    for (const node of this.#nodes) propagate(node, known, contents);
    const goOn = contents.get(this.#goOn)?.entries[0] ?? integerOf(inside, this.#goOn);
    const held = new Map<ValueName, Content>();
    for (const { input, output } of this.#states) {
      const content = contents.get(output);
      if (content !== undefined) held.set(input, content);
    }
    const always = this.#isConstant(this.#goOn);
    return { goOn: typeof goOn === "number" ? goOn : undefined, always, held };
  }

  /** Whether a condition is the one that came in, or a constant. */
  #isConstant(name: ValueName): boolean {
    const [, goOn] = this.#loop.body.inputs;
    return this.#behind([name]).every((node) =>
      node.inputs.every(
        (input) =>
          input === goOn?.name ||
          this.#inside.constantOf(input) !== undefined ||
          this.#inside.producer(input) !== undefined,
      ),
    );
  }
}

function single(value: number): Content {
  return { entries: [value], rank: 0, tensor: int64([], [value]) };
}

/** The integer or truth value that a constant holds, cast or not. */
function integerOf(flow: Flow, name: ValueName): number | undefined {
  let value = name;
  for (;;) {
    const ref = flow.constantOf(value);
    if (ref !== undefined) {
      const numbers = elementCount(ref.shape) === 1 ? numbersOf(ref) : undefined;
      const [number] = numbers ?? [];
      return number !== undefined && Number.isInteger(number) ? number : undefined;
    }
    const node = flow.producer(value);
    if (node === undefined || (node.op !== "Cast" && node.op !== "Identity")) return undefined;
    value = node.inputs[0] ?? "";
  }
}
