// The way back through a list of nodes: each node's rule turns the gradients of its outputs into those of
// its inputs, and what reaches a value over several ways is summed (Griewank and Walther 2008, chapter 3).

import { present } from "../../base/assert.ts";
import type { TypedBuilder } from "../../canonical/typed-builder.ts";
import type { Attribute, Graph, Node, ValueName } from "../../graph/graph.ts";
import { zerosLike } from "../../ops/construct.ts";
import { opOf } from "../../ops/index.ts";
import type { KernelCosts } from "../../ops/kernel-costs.ts";
import type { GradientContext } from "../../ops/op.ts";
import { copied } from "./copy.ts";
import { dependingOn, hasBodies, readBy } from "./paths.ts";
import { roundsOf } from "./rounds.ts";
import { type Follow, throughRounds } from "./through-rounds.ts";

/** The gradients of values, as far as they have been followed back. */
export class Backward {
  readonly #builder: TypedBuilder;
  readonly #dependent: ReadonlySet<ValueName>;
  readonly #costs: KernelCosts;
  readonly #parts = new Map<ValueName, ValueName[]>();
  readonly #settled = new Map<ValueName, ValueName>();

  /** @param dependent Values whose gradients are of use; rules make nothing for others. */
  constructor(builder: TypedBuilder, dependent: ReadonlySet<ValueName>, costs: KernelCosts) {
    this.#builder = builder;
    this.#dependent = dependent;
    this.#costs = costs;
  }

  /** Adds a part to the gradient of a value. */
  add(name: ValueName, gradient: ValueName): void {
    const parts = this.#parts.get(name);
    if (parts === undefined) this.#parts.set(name, [gradient]);
    else parts.push(gradient);
  }

  /** The gradient of a value once all its readers were followed back; undefined where none arrived. */
  gradientOf(name: ValueName): ValueName | undefined {
    const known = this.#settled.get(name);
    if (known !== undefined) return known;
    const parts = this.#parts.get(name);
    if (parts === undefined) return undefined;
    const [only] = parts;
    const total =
      parts.length === 1 ? only : this.#builder.emit("Sum", parts, { name: `d_${name}` });
    const gradient = present(total, "a gradient has parts");
    this.#settled.set(name, gradient);
    return gradient;
  }

  /** Follows the gradients back through nodes in topological order. */
  through(nodes: readonly Node[]): void {
    for (const node of nodes.toReversed()) {
      const reached = node.outputs.some(
        (name) => this.#dependent.has(name) && this.#parts.has(name),
      );
      if (reached) this.#throughNode(node);
    }
  }

  #throughNode(node: Node): void {
    const dy = node.outputs.map((name) => (name === "" ? undefined : this.gradientOf(name)));
    if (hasBodies(node)) {
      for (const [name, gradient] of this.#throughBodies(node, dy)) this.add(name, gradient);
      return;
    }
    const rule = opOf(node)?.gradient;
    if (typeof rule !== "function") return;
    for (const [i, gradient] of rule(this.#contextOf(node), dy).entries()) {
      const input = node.inputs[i] ?? "";
      if (gradient !== undefined && this.#dependent.has(input)) this.add(input, gradient);
    }
  }

  #throughBodies(
    node: Node,
    dy: readonly (ValueName | undefined)[],
  ): readonly (readonly [ValueName, ValueName])[] {
    const rounds = roundsOf(node);
    if (rounds === undefined) return this.#throughBranches(node, dy);
    const follow: Follow = (body, ...path) => this.#follow(body, ...path);
    return throughRounds(this.#builder, rounds, { dy, dependent: this.#dependent, follow });
  }

  /** Follows gradients back through the nodes of a body. */
  #follow(
    body: TypedBuilder,
    nodes: readonly Node[],
    dependent: ReadonlySet<ValueName>,
    seeds: Iterable<readonly [ValueName, ValueName]>,
  ): Backward {
    const backward = new Backward(body, dependent, this.#costs);
    for (const [name, gradient] of seeds) backward.add(name, gradient);
    backward.through(nodes);
    return backward;
  }

  #contextOf(node: Node): GradientContext {
    const builder = this.#builder;
    return {
      node,
      opset: builder.opset,
      wants: (i) => this.#dependent.has(node.inputs[i] ?? ""),
      costs: this.#costs,
      emit: (op, inputs, options) => builder.emit(op, inputs, options),
      emitAll: (op, inputs, options) => builder.emitAll(op, inputs, options),
      constant: (ref, stem) => builder.constant(ref, stem),
      typeOf: (name) => builder.typeOf(name),
      constantOf: (name) => builder.constantOf(name),
      bodyOf: (name, inputs, build) => builder.bodyOf(name, inputs, build),
    };
  }

  /**
   * The gradient of an If is an If of the same condition over the gradients of its branches. A branch
   * computes its forward again: its insides are not seen from outside, and of the branch that is not taken
   * there are none. A value that only one branch reads has gradient zero in the other.
   */
  #throughBranches(node: Node, dy: readonly (ValueName | undefined)[]): [ValueName, ValueName][] {
    const wanted = [...new Set(readBy(node))].filter((name) => this.#dependent.has(name));
    const prefix = `${this.#builder.unique(`d_${node.name}`)}/`;
    const branches = [...node.attributes].flatMap(([key, attribute]): BranchGradient[] =>
      attribute.kind === "graph"
        ? [
            branchGradient(this.#builder.body(`${prefix}${key}/`), key, attribute.value, {
              dy,
              wanted,
              follow: (body, ...path) => this.#follow(body, ...path),
            }),
          ]
        : [],
    );
    const found = wanted.filter((name) => branches.some((one) => one.gradients.has(name)));
    if (found.length === 0) return [];
    const attributes: Record<string, Attribute> = {};
    for (const branch of branches) {
      attributes[branch.key] = { kind: "graph", value: finished(branch, found) };
    }
    const outputs = this.#builder.emitAll("If", [node.inputs[0] ?? ""], {
      name: `d_${node.name}`,
      attributes,
      outputCount: found.length,
    });
    return found.map((name, i) => [name, outputs[i] ?? ""]);
  }
}

/** The gradient of one branch before its outputs are declared. */
interface BranchGradient {
  /** The attribute that holds the branch. */
  readonly key: string;
  readonly body: TypedBuilder;
  readonly gradients: ReadonlyMap<ValueName, ValueName>;
  readonly branch: Graph;
}

function branchGradient(
  body: TypedBuilder,
  key: string,
  branch: Graph,
  flow: {
    readonly dy: readonly (ValueName | undefined)[];
    readonly wanted: readonly ValueName[];
    readonly follow: Follow;
  },
): BranchGradient {
  const nodes = copied(body, branch);
  const dependent = dependingOn(nodes.nodes, flow.wanted, (name) => body.typeOf(name));
  const seeds = branch.outputs.flatMap((output, i): [ValueName, ValueName][] => {
    const gradient = flow.dy[i];
    return gradient === undefined ? [] : [[nodes.rename(output.name), gradient]];
  });
  const backward = flow.follow(body, nodes.nodes, dependent, seeds);
  const gradients = new Map<ValueName, ValueName>();
  for (const name of flow.wanted) {
    const gradient = backward.gradientOf(name);
    if (gradient !== undefined) gradients.set(name, gradient);
  }
  return { key, body, gradients, branch };
}

function finished({ body, gradients, branch }: BranchGradient, found: readonly ValueName[]): Graph {
  for (const name of found) {
    // A branch gives a value of its own, also where it hands on one from outside.
    const value = body.emit("Identity", [gradients.get(name) ?? zerosLike(body, name)]);
    const type = present(body.typeOf(value), "a gradient is typed");
    body.output({ name: value, dtype: type.dtype, shape: type.shape });
  }
  return body.finish(`${branch.name}.gradient`, branch.opsets);
}
