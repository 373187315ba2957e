// The way back through a Loop or Scan, whose rounds have told the states that they got: a Scan goes through them
// from the last to the first. It carries the gradients of the states and the sums of those
// of the values around; gradients of slices are stacked (Griewank and Walther 2008, chapter 3, round by round).

import { present } from "../../base/assert.ts";
import type { TypedBuilder } from "../../canonical/typed-builder.ts";
import { type DType, isFloat } from "../../graph/dtype.ts";
import { int, ints, type Node, type Value, type ValueName } from "../../graph/graph.ts";
import { captures } from "../../graph/query.ts";
import { normalizeAxis, type Shape } from "../../graph/shape.ts";
import { numbersOf, scalarOf } from "../../graph/tensor.ts";
import { noGradient, zerosLike } from "../../ops/construct.ts";
import { copied } from "./copy.ts";
import { dependingInside, dependingOn } from "./paths.ts";
import type { RoundState, Rounds } from "./rounds.ts";
import { type Told, toldBy } from "./told-states.ts";

/** Follows gradients back through nodes of a body, and tells them by name. */
export type Follow = (
  body: TypedBuilder,
  nodes: readonly Node[],
  dependent: ReadonlySet<ValueName>,
  seeds: Iterable<readonly [ValueName, ValueName]>,
) => { gradientOf(name: ValueName): ValueName | undefined };

/** What arrives at the node, and of what gradients are of use. */
export interface Flow {
  readonly dy: readonly (ValueName | undefined)[];
  readonly dependent: ReadonlySet<ValueName>;
  readonly follow: Follow;
}

type Found = readonly [ValueName, ValueName];

/** The gradients of what a Loop or Scan reads. */
export function throughRounds(builder: TypedBuilder, rounds: Rounds, flow: Flow): Found[] {
  for (const { inside } of rounds.states) {
    if (inside.container !== undefined) {
      throw noGradient(rounds.node, `"${inside.name}" is no tensor`);
    }
  }
  const inside = dependingInside(rounds.node, rounds.body, flow.dependent, (name) =>
    builder.typeOf(name),
  );
  const told = present(toldBy(rounds), "what rounds got is told before their way back is built");
  if (told.count === undefined || runsForSure(builder, rounds.node)) {
    return new BackwardScan(builder, rounds, inside)
      .build(flow, told)
      .map(({ name, gradient }): Found => [name, gradient]);
  }
  return ifAny(builder, told.count, (body) =>
    new BackwardScan(body, rounds, inside).build(flow, told),
  );
}

/** Whether a Loop runs at least once: so many rounds are asked for, and no condition could end it before. */
function runsForSure(builder: TypedBuilder, node: Node): boolean {
  const [trips = "", condition = ""] = node.inputs;
  const count = builder.constantOf(trips);
  return condition === "" && count !== undefined && (numbersOf(count)?.[0] ?? 0) > 0;
}

/** A gradient, and what it is if there was no round; undefined: zero. */
interface Part {
  readonly name: ValueName;
  readonly gradient: ValueName;
  readonly unmoved: ValueName | undefined;
}

/** The gradients of a Loop that may run no round at all: the runtime has no Scan over nothing. */
function ifAny(
  builder: TypedBuilder,
  count: ValueName,
  build: (body: TypedBuilder) => readonly Part[],
): Found[] {
  const [some, none] = ["some", "none"].map((name) => builder.body(`${builder.unique(name)}/`));
  if (some === undefined || none === undefined) return [];
  const parts = build(some);
  for (const { name, gradient, unmoved } of parts) {
    const like = { name, dtype: builder.typeOf(name)?.dtype ?? "float32", shape: undefined };
    outputOf(some, gradient, like);
    outputOf(none, unmoved ?? zerosLike(none, name), like);
  }
  if (parts.length === 0) return [];
  const zero = builder.constant(scalarOf("int64", 0));
  const any = builder.emit("Greater", [builder.emit("Size", [count]), zero]);
  const outputs = builder.emitAll("If", [any], {
    attributes: {
      then_branch: { kind: "graph", value: some.finish("some", new Map()) },
      else_branch: { kind: "graph", value: none.finish("none", new Map()) },
    },
    outputCount: parts.length,
  });
  return parts.map(({ name }, i): Found => [name, outputs[i] ?? ""]);
}

/** Makes a value an output of a body: under a name of its own, also where it is an input or from outside. */
function outputOf(body: TypedBuilder, name: ValueName, like: Value): void {
  const own = body.emit("Identity", [name]);
  const type = body.typeOf(own);
  body.output({ name: own, dtype: type?.dtype ?? like.dtype, shape: type?.shape });
}

/** The Scan from the last round to the first. */
class BackwardScan {
  readonly #builder: TypedBuilder;
  readonly #rounds: Rounds;
  readonly #inside: ReadonlySet<ValueName>;
  readonly #body: TypedBuilder;
  readonly #name: string;
  /** States and sums: what it carries. */
  readonly #carried: ValueName[] = [];
  /** What it goes through, along which axis, and whether from the end. */
  readonly #through: {
    readonly outer: ValueName;
    readonly axis: number;
    readonly reversed: boolean;
  }[] = [];
  readonly #names = new Map<ValueName, ValueName>();

  constructor(builder: TypedBuilder, rounds: Rounds, inside: ReadonlySet<ValueName>) {
    this.#builder = builder;
    this.#rounds = rounds;
    this.#inside = inside;
    this.#name = builder.unique(`d_${rounds.node.name}`);
    this.#body = builder.body(`${this.#name}/`);
  }

  build({ dy, dependent, follow }: Flow, told: Told): Part[] {
    const { node, body, states, slices, stacks } = this.#rounds;
    const live = states.filter((state) => this.#isLive(state));
    const around = [...captures(body)].filter((name) => dependent.has(name));
    const seeds: [ValueName, ValueName][] = live.map((state) => {
      const i = states.indexOf(state);
      const start = dy[i] ?? zerosLike(this.#builder, state.outer);
      return [state.result.name, this.#carry(start, `d_${state.inside.name}`)];
    });
    const sums = around.map((name) => this.#carry(zerosLike(this.#builder, name), `sum_${name}`));
    for (const [i, stack] of stacks.entries()) {
      const gradient = dy[states.length + i];
      if (gradient === undefined) continue;
      // What was put in front of the stack comes from its end now.
      const at = { outer: gradient, axis: stack.axis, reversed: !stack.reversed };
      seeds.push([stack.result.name, this.#slice(at, `d_${stack.result.name}`)]);
    }
    this.#giveInputs(told);
    const copy = copied(this.#body, body, this.#names);
    const sources = body.inputs.map((one) => one.name).filter((name) => this.#inside.has(name));
    const wrt = [...sources.map(copy.rename), ...around];
    const reached = dependingOn(copy.nodes, wrt, (name) => this.#body.typeOf(name));
    const backward = follow(
      this.#body,
      copy.nodes,
      reached,
      seeds.map(([name, gradient]) => [copy.rename(name), gradient] as const),
    );
    const gradientOf = (name: ValueName): ValueName | undefined =>
      backward.gradientOf(copy.rename(name));
    for (const { inside } of live) {
      const name = copy.rename(inside.name);
      outputOf(this.#body, gradientOf(inside.name) ?? zerosLike(this.#body, name), inside);
    }
    for (const [i, name] of around.entries()) {
      const [sum = "", gradient] = [sums[i], backward.gradientOf(name)];
      const type = present(this.#body.typeOf(sum), "a sum is typed");
      const total = gradient === undefined ? sum : this.#body.emit("Add", [sum, gradient]);
      outputOf(this.#body, total, { name, ...type });
    }
    const cut = slices.filter(
      (slice) => dependent.has(slice.outer) && gradientOf(slice.inside.name) !== undefined,
    );
    for (const { inside } of cut) outputOf(this.#body, gradientOf(inside.name) ?? "", inside);
    const outputs = this.#emit(cut, `${node.name}.gradient`);
    const carried = live.map((state) => ({
      name: state.outer,
      unmoved: dy[states.indexOf(state)],
    }));
    const others = [...around, ...cut.map((one) => one.outer)];
    const read = [...carried, ...others.map((name) => ({ name, unmoved: undefined }))];
    return read
      .map((part, i): Part => ({ ...part, gradient: outputs[i] ?? "" }))
      .filter(({ name }) => dependent.has(name));
  }

  #isLive({ inside, result }: RoundState): boolean {
    return (
      isFloat(inside.dtype) && (this.#inside.has(inside.name) || this.#inside.has(result.name))
    );
  }

  #carry(start: ValueName, stem: string): ValueName {
    this.#carried.push(start);
    const { dtype, shape } = this.#typeOf(start);
    return this.#body.input(this.#body.unique(stem), dtype, shape);
  }

  #slice(
    at: { readonly outer: ValueName; readonly axis: number; readonly reversed: boolean },
    stem: string,
  ): ValueName {
    this.#through.push(at);
    const { dtype, shape } = this.#typeOf(at.outer);
    const axis = normalizeAxis(at.axis, shape.length) ?? 0;
    return this.#body.input(this.#body.unique(stem), dtype, shape.toSpliced(axis, 1));
  }

  #typeOf(name: ValueName): { readonly dtype: DType; readonly shape: Shape } {
    const type = this.#builder.typeOf(name);
    if (type?.shape !== undefined) return { dtype: type.dtype, shape: type.shape };
    throw noGradient(this.#rounds.node, `the rank of "${name}" must be known`);
  }

  /** What the rounds got: states as they told them, slices as they were cut, last first. */
  #giveInputs(told: Told): void {
    const { states, slices, count, condition } = this.#rounds;
    for (const [i, { inside }] of states.entries()) {
      const at = { outer: told.states[i] ?? "", axis: 0, reversed: true };
      this.#names.set(inside.name, this.#slice(at, inside.name));
    }
    if (count !== undefined && told.count !== undefined) {
      const at = { outer: told.count, axis: 0, reversed: true };
      this.#names.set(count.name, this.#slice(at, count.name));
    }
    if (condition !== undefined) {
      this.#names.set(condition.name, this.#body.constant(scalarOf("bool", 1), "goes_on"));
    }
    for (const { inside, outer, axis, reversed } of slices) {
      this.#names.set(inside.name, this.#slice({ outer, axis, reversed: !reversed }, inside.name));
    }
  }

  #emit(cut: Rounds["slices"], name: string): readonly ValueName[] {
    const { body } = this.#rounds;
    const inputs = [...this.#carried, ...this.#through.map((one) => one.outer)];
    return this.#builder.emitAll("Scan", inputs, {
      name: this.#name,
      outputCount: this.#carried.length + cut.length,
      attributes: {
        body: { kind: "graph", value: this.#body.finish(name, body.opsets) },
        num_scan_inputs: int(this.#through.length),
        scan_input_axes: ints(this.#through.map((one) => one.axis)),
        scan_input_directions: ints(this.#through.map((one) => Number(one.reversed))),
        ...(cut.length > 0 && {
          scan_output_axes: ints(cut.map((one) => one.axis)),
          scan_output_directions: ints(cut.map((one) => Number(!one.reversed))),
        }),
      },
    });
  }
}
