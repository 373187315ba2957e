// The one representation of a network: an immutable graph in static single assignment form. Every
// value has one producer (a node, a graph input or an initializer) and is known by its name, as in
// the ONNX file. Passes return new graphs; weights are shared by reference. Knows nothing of protobuf.

import type { DType } from "./dtype.ts";
import type { Shape } from "./shape.ts";
import type { TensorRef } from "./tensor.ts";

/** Name of a value: unique in its graph and the graphs inside it. */
export type ValueName = string;

/** What is known of a value. */
export interface ValueType {
  /** Of a container, the element type of the tensors inside. */
  readonly dtype: DType;
  /** undefined: nothing is known, not even the rank; a container has none. */
  readonly shape: Shape | undefined;
  /** Left out for tensors. */
  readonly container?: Container;
}

/** A value that holds other values, such as the tensors of a sequence: one type stands for all of them. */
export type Container =
  | {
      readonly kind: "sequence";
      readonly of: ValueType;
      /** How many there are, where it is known. */
      readonly length?: number;
    }
  | { readonly kind: "optional"; readonly of: ValueType }
  | { readonly kind: "map"; readonly key: DType; readonly of: ValueType };

/** An edge: one producer, any number of uses. */
export interface Value extends ValueType {
  readonly name: ValueName;
  /** What a file says of the value besides, as that of a node. */
  readonly remarks?: Uint8Array;
}

/** An integer of an ONNX attribute; bigint only where a number would not be exact. */
export type AttributeInt = number | bigint;

/** The types of attributes, as the specification names them (AttributeProto.AttributeType). */
export type AttributeType =
  | "float"
  | "int"
  | "string"
  | "tensor"
  | "graph"
  | "floats"
  | "ints"
  | "strings"
  | "tensors"
  | "graphs"
  | "sparse_tensor"
  | "sparse_tensors"
  | "type_proto"
  | "type_protos";

/**
 * A static argument of a node. `reference` stands for an attribute of the function around it; its type
 * is left out where the file does not say it. `opaque` keeps what skipway does not look into, byte for
 * byte.
 */
export type Attribute =
  | { readonly kind: "int"; readonly value: AttributeInt }
  | { readonly kind: "ints"; readonly value: readonly AttributeInt[] }
  | { readonly kind: "float"; readonly value: number }
  | { readonly kind: "floats"; readonly value: readonly number[] }
  | { readonly kind: "string"; readonly value: string }
  | { readonly kind: "strings"; readonly value: readonly string[] }
  | { readonly kind: "tensor"; readonly value: TensorRef }
  | { readonly kind: "graph"; readonly value: Graph }
  | { readonly kind: "graphs"; readonly value: readonly Graph[] }
  | { readonly kind: "reference"; readonly attribute: string; readonly type?: AttributeType }
  | { readonly kind: "opaque"; readonly bytes: Uint8Array };

/** Attributes by name. */
export type Attributes = ReadonlyMap<string, Attribute>;

/** A node of the file: its name, and the call or control-flow node inside which it stands. */
export interface Original {
  readonly name: string;
  readonly within?: Original;
}

/** One application of an op. An empty input or output name is an argument left out. */
export interface Node {
  /** As in the file; made up and unique where the file gives none. */
  readonly name: string;
  readonly op: string;
  /** "" is the standard ONNX domain. */
  readonly domain: string;
  readonly inputs: readonly ValueName[];
  readonly outputs: readonly ValueName[];
  readonly attributes: Attributes;
  /** Which of several functions of the same name is called; left out where there is one. */
  readonly overload?: string;
  /**
   * What a file says of the node besides (documentation, metadata, device configurations, fields that
   * skipway does not know), as it stood there. Kept for writing, and never looked into.
   */
  readonly remarks?: Uint8Array;
  /**
   * The nodes of the file that this one stands for; left out where it is itself one of the file. Those of
   * a node in a body count from the body. Only in memory: files do not carry it.
   */
  readonly originals?: readonly Original[];
}

/** By what a function is known in `Graph.functions`: `domain/op`, and its overload if it has one. */
export function functionKey(call: {
  readonly domain: string;
  readonly op: string;
  readonly overload?: string;
}): string {
  const { domain, op, overload = "" } = call;
  return overload === "" ? `${domain}/${op}` : `${domain}/${op}/${overload}`;
}

/** A function of the model: nodes that a call stands for, with the attributes that it passes on. */
export interface GraphFunction {
  readonly inputs: readonly ValueName[];
  readonly outputs: readonly ValueName[];
  readonly nodes: readonly Node[];
  /** Values of attributes that a call may leave out. */
  readonly defaults: Attributes;
  readonly opsets: ReadonlyMap<string, number>;
}

/** A network, or the body of a control-flow node. Nodes are in topological order. */
export interface Graph {
  readonly name: string;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  readonly nodes: readonly Node[];
  readonly initializers: ReadonlyMap<ValueName, TensorRef>;
  /** What the file, or shape inference, says of values that are neither inputs nor outputs. */
  readonly values: ReadonlyMap<ValueName, Value>;
  /** Version of each operator set, by domain. */
  readonly opsets: ReadonlyMap<string, number>;
  readonly metadata: ReadonlyMap<string, string>;
  /** What a file says of the graph besides, as that of a node. */
  readonly remarks?: Uint8Array;
  /** Functions that nodes call, by `functionKey`; left out where there are none. */
  readonly functions?: ReadonlyMap<string, GraphFunction>;
  /**
   * The node that made each initializer that the file has as a node, by the initializer's name. As with
   * `originals`, only in memory.
   */
  readonly folded?: ReadonlyMap<ValueName, Node>;
}

/** No attributes. */
export const NO_ATTRIBUTES: Attributes = new Map();

/** Attribute of an integer, or of a list of integers. */
export function int(value: number): Attribute {
  return { kind: "int", value };
}
/** Attribute of a list of integers. */
export function ints(value: readonly number[]): Attribute {
  return { kind: "ints", value };
}
/** Attribute of a float. */
export function float(value: number): Attribute {
  return { kind: "float", value };
}
/** Attribute of a string. */
export function string(value: string): Attribute {
  return { kind: "string", value };
}

function safe(value: AttributeInt): number {
  if (typeof value === "number") return value;
  return value > 0n ? Number.MAX_SAFE_INTEGER : Number.MIN_SAFE_INTEGER;
}

/** An integer attribute; values beyond safe integers saturate (they mean "to the end" in Slice). */
export function intAttribute(node: Node, name: string): number | undefined;
export function intAttribute(node: Node, name: string, fallback: number): number;
export function intAttribute(node: Node, name: string, fallback?: number): number | undefined {
  const attribute = node.attributes.get(name);
  return attribute?.kind === "int" ? safe(attribute.value) : fallback;
}

/** A list-of-integers attribute, saturated as in `intAttribute`. */
export function intsAttribute(node: Node, name: string): readonly number[] | undefined {
  const attribute = node.attributes.get(name);
  return attribute?.kind === "ints" ? attribute.value.map(safe) : undefined;
}

/** A float attribute. */
export function floatAttribute(node: Node, name: string, fallback: number): number {
  const attribute = node.attributes.get(name);
  return attribute?.kind === "float" ? attribute.value : fallback;
}

/** A string attribute. */
export function stringAttribute(node: Node, name: string, fallback: string): string {
  const attribute = node.attributes.get(name);
  return attribute?.kind === "string" ? attribute.value : fallback;
}

/** The graphs in a node's attributes: branches of an If, the body of a Loop or Scan. */
export function subgraphs(node: Node): readonly Graph[] {
  const found: Graph[] = [];
  for (const attribute of node.attributes.values()) {
    if (attribute.kind === "graph") found.push(attribute.value);
    if (attribute.kind === "graphs") found.push(...attribute.value);
  }
  return found;
}
