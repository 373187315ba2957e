// What is wrong with a node that a layer adds: numbers that no attribute can hold, what the standard has
// against it, and operands that do not fit. `verify` says the second too, but of a finished graph, in which
// the line that asked for the node is forgotten.

import { repairOf } from "../analysis/merges.ts";
import type { EmitOptions } from "../graph/build.ts";
import type { Attribute, Node, ValueName, ValueType } from "../graph/graph.ts";
import { broadcast, formatShape, normalizeAxis, type Shape } from "../graph/shape.ts";
import { nodeDiagnostics } from "../ops/check-node.ts";
import { checkTypes } from "../ops/check-types.ts";
import { schemaOf } from "../ops/schema.ts";

/** What ends the building. */
export interface Fault {
  readonly id: string;
  readonly text: string;
  readonly fix: string;
}

/** What the schema of an op has against a node: arguments, attributes, types of the inputs. */
export function schemaFault(
  { op, inputs, domain = "", attributes = {}, outputCount = 1 }: Emission,
  opset: number,
  typeOf: (name: ValueName) => ValueType | undefined,
): Fault | undefined {
  const schema = domain === "" ? schemaOf(domain, op, opset) : undefined;
  if (schema === undefined) return undefined;
  const node: Node = {
    ...{ name: op, op, domain, inputs },
    outputs: Array.from({ length: outputCount }, (_, i) => `output${i}`),
    attributes: attributes instanceof Map ? attributes : new Map(Object.entries(attributes)),
  };
  const types = inputs.map((name) => {
    const type = typeOf(name);
    return type?.container === undefined ? type?.dtype : undefined;
  });
  const known = { opset, inputs: types, declared: () => undefined };
  const found = [...nodeDiagnostics(node, schema), ...checkTypes(node, schema, known).found];
  const first = found.find((one) => one.severity === "error");
  if (first === undefined) return undefined;
  const fix = `Compare it with the operator ${op} in operator set ${opset} of ONNX.`;
  return { id: first.id, text: `the node ${op} ${first.text}`, fix };
}

/** A node that is to be. */
interface Emission extends EmitOptions {
  readonly op: string;
  readonly inputs: readonly ValueName[];
}

/** An operand whose shape is known. */
export interface Operand {
  readonly name: ValueName;
  readonly shape: Shape;
}

/** Ops whose operands are spread over each other. */
const SPREADING = new Set(
  "Add Sub Mul Div Pow Sum Mean Max Min Where And Or Xor Equal Greater Less".split(" "),
);

/** An attribute that is none, or that holds numbers of another kind; types rule it out, JavaScript does not. */
export function attributeFault(
  op: string,
  attributes: EmitOptions["attributes"] = {},
): Fault | undefined {
  const entries = attributes instanceof Map ? [...attributes] : Object.entries(attributes);
  for (const [name, attribute] of entries) {
    if (holds(attribute)) continue;
    const value = attribute?.value ?? attribute;
    return {
      id: "nn/attribute",
      text: `the attribute "${name}" of ${op} is ${attribute?.kind ?? "without a kind"}: ${value}`,
      fix: "Give it numbers of its kind: nn.int and nn.ints take whole ones, nn.float any.",
    };
  }
  return undefined;
}

/** The attribute "axis" of a node; 0 without one. */
export function axisOf(attributes: EmitOptions["attributes"] = {}): number {
  const given = attributes instanceof Map ? attributes : new Map(Object.entries(attributes));
  const axis = given.get("axis");
  return axis?.kind === "int" ? Number(axis.value) : 0;
}

/** What stands in the place of a layer, where it is none: a maker that is not called, a list, a number. */
export function layerFault(given: unknown): Fault | undefined {
  if (typeof given === "object" && given !== null && "build" in given && "name" in given) {
    if (typeof given.build === "function" && typeof given.name === "string") return undefined;
  }
  const fix =
    typeof given === "function"
      ? "Call it: nn.relu() is a layer, nn.relu makes one."
      : "Give a layer, such as nn.relu(); several one after another, not as a list.";
  const kind = Array.isArray(given)
    ? "a list"
    : given === null
      ? "null"
      : `of type ${typeof given}`;
  return { id: "nn/layer", text: `what stands in the place of a layer is ${kind}`, fix };
}

function holds(attribute: Attribute | undefined): boolean {
  const whole = (value: unknown): boolean =>
    typeof value === "bigint" || Number.isSafeInteger(value);
  const real = (value: unknown): boolean => typeof value === "number" && !Number.isNaN(value);
  switch (attribute?.kind) {
    case undefined:
      return false;
    case "int":
      return whole(attribute.value);
    case "ints":
      return Array.isArray(attribute.value) && attribute.value.every(whole);
    case "float":
      return real(attribute.value);
    case "floats":
      return attribute.value.every(real);
    default:
      return true;
  }
}

/** Two operands of a merge that contradict each other, and what would bring them together. */
export function mergeFault(
  op: string,
  operands: readonly Operand[],
  axis: number,
): Fault | undefined {
  const [first, ...others] = operands;
  if (first === undefined) return undefined;
  if (op === "Concat") {
    const along = normalizeAxis(axis, first.shape.length);
    const other = others.find(({ shape }) => !joins(first.shape, shape, along));
    return other === undefined ? undefined : unfit(op, [first, other], along);
  }
  if (!SPREADING.has(op)) return undefined;
  let joined = first;
  for (const operand of others) {
    const shape = broadcast(joined.shape, operand.shape);
    if (shape === undefined) return unfit(op, [joined, operand]);
    joined = { name: joined.name, shape };
  }
  return undefined;
}

function joins(a: Shape, b: Shape, along: number | undefined): boolean {
  return (
    a.length === b.length &&
    a.every((dim, i) => {
      const other = b[i];
      return i === along || typeof dim !== "number" || typeof other !== "number" || dim === other;
    })
  );
}

function unfit(op: string, [a, b]: readonly [Operand, Operand], concatAxis?: number): Fault {
  return {
    id: "shape/mismatch",
    text: `${op} cannot join "${a.name}" ${formatShape(a.shape)} and "${b.name}" ${formatShape(b.shape)}`,
    fix: repairOf(a.shape, b.shape, concatAxis),
  };
}
