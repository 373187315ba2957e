// What changes about a node from one version of its op to the next, and what a change may do besides:
// put nodes before and after it, make constants of attributes, and say that something has no newer form.

import {
  type Attribute,
  intsAttribute,
  type Node,
  type ValueName,
  type ValueType,
} from "../../graph/graph.ts";
import type { Tensor, TensorRef } from "../../graph/tensor.ts";
import { int64 } from "../../graph/tensor.ts";

/** What a change may look at and add. Nodes that it adds are of the target operator set already. */
export interface StepContext {
  /** What is known of a value; undefined inside functions, whose values have no types. */
  typeOf(name: ValueName): ValueType | undefined;
  /** The tensor of an initializer or a Constant. */
  constantOf(name: ValueName): TensorRef | undefined;
  /** Whether anything reads a value. */
  isRead(name: ValueName): boolean;
  constant(ref: Tensor, stem: string): ValueName;
  /** A node before the one that is changed. */
  before(
    op: string,
    inputs: readonly ValueName[],
    attributes?: Readonly<Record<string, Attribute>>,
  ): ValueName;
  /**
   * Lets a node behind the changed one make one of its outputs. Gives the name under which the changed
   * node makes it from now on; `inputs` gets that name.
   */
  after(
    output: ValueName,
    op: string,
    inputs: (made: ValueName) => readonly ValueName[],
    attributes?: Readonly<Record<string, Attribute>>,
  ): ValueName;
  /** A name that nothing has. */
  fresh(stem: string): ValueName;
  /** Reports that this node has no exact form in the target operator set. */
  refuse(text: string, fix: string): void;
}

/** From a node of the version before to one of this version, with the same results. */
export type Change = (node: Node, context: StepContext) => Node;

/** A version of an op that needs a change. */
export interface Step {
  /** The version of the operator set that brought it. */
  readonly since: number;
  readonly change: Change;
}

/** The node without some of its attributes. */
export function without(node: Node, ...names: readonly string[]): Node {
  if (!names.some((name) => node.attributes.has(name))) return node;
  const attributes = new Map(node.attributes);
  for (const name of names) attributes.delete(name);
  return { ...node, attributes };
}

/** The node with an attribute set. */
export function withAttribute(node: Node, name: string, value: Attribute): Node {
  return { ...node, attributes: new Map([...node.attributes, [name, value]]) };
}

/** The node with an attribute set where it leaves it out: a default that has changed since. */
export function withDefault(node: Node, name: string, value: Attribute): Node {
  return node.attributes.has(name) ? node : withAttribute(node, name, value);
}

/** The node with an attribute under another name. */
export function renameAttribute(node: Node, from: string, to: string): Node {
  const value = node.attributes.get(from);
  return value === undefined ? node : withAttribute(without(node, from), to, value);
}

/** The node with an input at a position; what lies between is left out. */
export function withInput(node: Node, position: number, name: ValueName): Node {
  const inputs = Array.from(
    { length: Math.max(position + 1, node.inputs.length) },
    (_, i) => node.inputs[i] ?? "",
  );
  return { ...node, inputs: inputs.with(position, name) };
}

/** A list of integers that was an attribute as an input; left out where the node leaves it out. */
export function listAsInput(attribute: string, position: number): Change {
  return (node, context) => {
    const list = intsAttribute(node, attribute);
    const rest = without(node, attribute);
    if (list === undefined) return rest;
    const name = context.constant(int64([list.length], list), `${node.name}.${attribute}`);
    return withInput(rest, position, name);
  };
}

/** Several changes, one after another. */
export function all(...changes: readonly Change[]): Change {
  return (node, context) => changes.reduce((current, change) => change(current, context), node);
}
