// A graph of an older operator set as one of a newer, with the same results: gradients, repairs and whoever
// else adds nodes then meet each op in one form. What the standard changed from version to version stands
// in steps.ts (ONNX, docs/Changelog.md).

import { type Diagnostic, diagnostic } from "../../base/diagnostic.ts";
import { SkipwayError } from "../../base/errors.ts";
import { tensorOfConstant } from "../../canonical/constant-node.ts";
import { FreshNames } from "../../canonical/fresh-names.ts";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import { withBodies } from "../../canonical/inline.ts";
import type {
  Attribute,
  Graph,
  GraphFunction,
  Node,
  ValueName,
  ValueType,
} from "../../graph/graph.ts";
import { functionKey, subgraphs } from "../../graph/graph.ts";
import { ownOriginals } from "../../graph/original.ts";
import type { Tensor, TensorRef } from "../../graph/tensor.ts";
import { clipName } from "../../graph/verify.ts";
import { opOf } from "../../ops/index.ts";
import { type OpSchema, schemasOf } from "../../ops/schema.ts";
import type { StepContext } from "./step.ts";
import { isWider, LEFTOVER, STEPS } from "./steps.ts";

/**
 * The operator set that gradients are built in. From here on GroupNormalization has a scale for each
 * channel, the last change of a common op; axes are inputs since 18, modes of GridSample have their names
 * since 20. Files of IR version 10, which skipway writes, came with it.
 */
export const OPSET_OF_GRADIENTS = 21;

/**
 * The same network in a newer operator set: nodes of the graph, of bodies and of functions. The same graph
 * back if it is there already, or beyond. One that declares no standard operator set gets that one.
 *
 * @throws SkipwayError `input` with a diagnostic for each node that has no exact form in the newer set.
 */
export function upgradeOpset(graph: Graph, target: number = OPSET_OF_GRADIENTS): Graph {
  const sets = [graph, ...(graph.functions?.values() ?? [])].map((one) => one.opsets.get(""));
  const declared = sets.filter((version) => version !== undefined);
  const goal = Math.max(target, ...declared);
  if (graph.opsets.has("") && declared.every((version) => version === goal)) return graph;
  const found: Diagnostic[] = [];
  const inferred = inferShapes(graph);
  const upgrade = new Upgrade(inferred, goal, found);
  const main = upgrade.graph(inferred, undefined, graph.opsets.get("") ?? goal);
  const functions = graph.functions && upgrade.functions(graph.functions);
  if (found.length > 0) throw SkipwayError.fromDiagnostics("input", found);
  return { ...main, ...(functions === undefined ? {} : { functions }) };
}

/** What is known of values, in a body with what is known around it. */
interface Known {
  typeOf(name: ValueName): ValueType | undefined;
  constantOf(name: ValueName): TensorRef | undefined;
}

const NOTHING: Known = { typeOf: () => undefined, constantOf: () => undefined };

/** Where nodes stand: what they can see, and where constants go. */
interface Place {
  readonly known: Known;
  readonly version: number;
  /** Takes a constant in, and gives the node that makes it where it must be a node. */
  keep(name: ValueName, ref: Tensor): readonly Node[];
}

class Upgrade {
  readonly #goal: number;
  readonly #found: Diagnostic[];
  readonly #called: ReadonlyMap<string, GraphFunction>;
  #names: FreshNames;
  #read: ReadonlySet<ValueName>;

  constructor(graph: Graph, goal: number, found: Diagnostic[]) {
    this.#goal = goal;
    this.#found = found;
    this.#called = graph.functions ?? new Map();
    this.#names = new FreshNames(graph);
    this.#read = readNames(graph.nodes, graph.outputs);
  }

  graph(graph: Graph, outer: Known | undefined, version: number): Graph {
    const known = knownIn(graph, outer ?? NOTHING);
    const initializers = new Map(graph.initializers);
    const place: Place = {
      known,
      version,
      keep: (name, ref) => {
        initializers.set(name, ref);
        return [];
      },
    };
    const nodes = graph.nodes.flatMap((node) => this.#node(node, place));
    const opsets = new Map([...graph.opsets, ["", this.#goal]]);
    return { ...graph, nodes, opsets, initializers };
  }

  functions(functions: ReadonlyMap<string, GraphFunction>): ReadonlyMap<string, GraphFunction> {
    return new Map([...functions].map(([key, one]) => [key, this.#function(one)]));
  }

  /** Functions have no initializers: a constant is a node. */
  #function(called: GraphFunction): GraphFunction {
    const version = called.opsets.get("") ?? this.#goal;
    if (version >= this.#goal) return called;
    const names = (list: readonly ValueName[]) =>
      list.map((name) => ({ name, dtype: "float32" as const, shape: undefined }));
    const whole: Graph = {
      ...{ name: "function", inputs: names(called.inputs), outputs: names(called.outputs) },
      ...{ nodes: called.nodes, initializers: new Map(), values: new Map() },
      ...{ opsets: called.opsets, metadata: new Map() },
    };
    this.#names = new FreshNames(whole);
    this.#read = readNames(called.nodes, whole.outputs);
    const known = { ...NOTHING, constantOf: constantsOf(called.nodes) };
    const keep: Place["keep"] = (name, ref) => [constantNode(this.#names, name, ref)];
    const nodes = called.nodes.flatMap((node) => this.#node(node, { known, version, keep }));
    return { ...called, nodes, opsets: new Map([...called.opsets, ["", this.#goal]]) };
  }

  #node(given: Node, place: Place): readonly Node[] {
    const node = withBodies(given, (body) => this.graph(body, place.known, place.version));
    if (node.domain !== "" || this.#called.has(functionKey(node))) return [node];
    const versions = schemasOf("", node.op);
    if (versions.length === 0) {
      // ONNX Runtime has a few ops of its own in the standard's domain, in one version.
      if (opOf(node) === undefined) this.#found.push(unknownOp(node));
      return [node];
    }
    const rewriting = new Rewriting(node, place, {
      ...{ names: this.#names, read: this.#read, found: this.#found },
    });
    return rewriting.run(this.#goal);
  }
}

/** What one node becomes. */
class Rewriting {
  readonly #given: Node;
  readonly #place: Place;
  readonly #names: FreshNames;
  readonly #found: Diagnostic[];
  readonly #before: Node[] = [];
  readonly #after: Node[] = [];
  readonly #context: StepContext;

  constructor(
    node: Node,
    place: Place,
    around: { names: FreshNames; read: ReadonlySet<ValueName>; found: Diagnostic[] },
  ) {
    this.#given = node;
    this.#place = place;
    this.#names = around.names;
    this.#found = around.found;
    this.#context = {
      ...place.known,
      isRead: (name) => around.read.has(name),
      fresh: (stem) => this.#names.value(stem),
      constant: (ref, stem) => this.#constant(ref, stem),
      before: (op, inputs, attributes) => {
        const output = this.#names.value(`${node.name}.${op.toLowerCase()}`);
        this.#before.push(this.#helper(op, inputs, { output, attributes }));
        return output;
      },
      after: (output, op, inputs, attributes) => {
        const made = this.#names.value(`${node.name}.${op.toLowerCase()}`);
        this.#after.unshift(this.#helper(op, inputs(made), { output, attributes }));
        return made;
      },
      refuse: (text, fix) => void this.#found.push(refusal(node, text, fix)),
    };
  }

  run(goal: number): readonly Node[] {
    let node = this.#given;
    let version = this.#place.version;
    for (;;) {
      const next = schemasOf("", node.op).find(({ since }) => since > version && since <= goal);
      if (next === undefined) break;
      const step = STEPS.get(node.op)?.find(({ since }) => since === next.since);
      if (step !== undefined) node = this.#changed(node, step.change, next);
      else this.#check(node, version, next);
      version = next.since;
    }
    return [...this.#before, withoutLeftover(node), ...this.#after];
  }

  /** An attribute that stands for one of the call has no value here that could be moved. */
  #changed(node: Node, change: (node: Node, context: StepContext) => Node, next: OpSchema): Node {
    const open = [...node.attributes].find(
      ([name, one]) => one.kind === "reference" && !next.attributes.has(name),
    );
    if (open === undefined) return change(node, this.#context);
    this.#context.refuse(
      `takes its attribute "${clipName(open[0])}" from the call of the function around it, and operator set ${next.since} has it as an input`,
      "Inline the functions of the model first.",
    );
    return node;
  }

  /** A version for which nothing is written down takes everything that the one before took. */
  #check(node: Node, version: number, next: OpSchema): void {
    const before = schemasOf("", node.op).findLast(({ since }) => since <= version);
    if (before === undefined || isWider(before, next)) return;
    this.#context.refuse(
      `has another form in operator set ${next.since}, and skipway knows no way from the one before`,
      "Export the model again with a later opset_version.",
    );
  }

  #constant(ref: Tensor, stem: string): ValueName {
    const name = this.#names.value(stem);
    this.#before.push(...this.#place.keep(name, ref));
    return name;
  }

  #helper(
    op: string,
    inputs: readonly ValueName[],
    {
      output,
      attributes = {},
    }: { output: ValueName; attributes: Readonly<Record<string, Attribute>> | undefined },
  ): Node {
    return {
      ...{ name: this.#names.node(`${this.#given.name}.${op.toLowerCase()}`), op, domain: "" },
      ...{ inputs, outputs: [output], attributes: new Map(Object.entries(attributes)) },
      originals: ownOriginals(this.#given),
    };
  }
}

function withoutLeftover(node: Node): Node {
  if (!node.attributes.has(LEFTOVER)) return node;
  const attributes = new Map(node.attributes);
  attributes.delete(LEFTOVER);
  return { ...node, attributes };
}

function constantNode(names: FreshNames, output: ValueName, ref: Tensor): Node {
  const attributes = new Map([["value", { kind: "tensor" as const, value: ref }]]);
  return {
    ...{ name: names.node(output), op: "Constant", domain: "", inputs: [], outputs: [output] },
    attributes,
  };
}

function constantsOf(nodes: readonly Node[]): (name: ValueName) => TensorRef | undefined {
  const found = new Map<ValueName, TensorRef>();
  for (const node of nodes) {
    const held = tensorOfConstant(node);
    if (held !== undefined) found.set(node.outputs[0] ?? "", held);
  }
  return (name) => found.get(name);
}

/** What a graph says of its values; a name that it has hides one around it. */
function knownIn(graph: Graph, outer: Known): Known {
  const constants = constantsOf(graph.nodes);
  const own = new Set<ValueName>(graph.nodes.flatMap((node) => node.outputs));
  const inputs = new Map(graph.inputs.map((value) => [value.name, value]));
  const outputs = new Map(graph.outputs.map((value) => [value.name, value]));
  for (const name of [...inputs.keys(), ...graph.initializers.keys()]) own.add(name);
  return {
    typeOf: (name) =>
      own.has(name)
        ? (graph.values.get(name) ??
          inputs.get(name) ??
          graph.initializers.get(name) ??
          outputs.get(name))
        : outer.typeOf(name),
    constantOf: (name) =>
      own.has(name) ? (graph.initializers.get(name) ?? constants(name)) : outer.constantOf(name),
  };
}

/** Every name that nodes, here or in bodies, and outputs read. */
function readNames(nodes: readonly Node[], outputs: Graph["outputs"]): Set<ValueName> {
  const read = new Set(outputs.map(({ name }) => name));
  for (const node of nodes) {
    for (const name of node.inputs) read.add(name);
    for (const body of subgraphs(node)) {
      for (const name of readNames(body.nodes, body.outputs)) read.add(name);
    }
  }
  read.delete("");
  return read;
}

function refusal(node: Node, text: string, fix: string): Diagnostic {
  return diagnostic({
    ...{ id: "upgrade/no-form", severity: "error", text, fix },
    where: `node ${clipName(node.name)} (${clipName(node.op)})`,
  });
}

function unknownOp(node: Node): Diagnostic {
  return diagnostic({
    id: "upgrade/unknown-op",
    severity: "error",
    where: `node ${clipName(node.name)} (${clipName(node.op)})`,
    text: "is no op of the standard, so that what it means in a later operator set is not known",
    fix: "Export the model with ops of the standard, or put the op into a domain of its own.",
  });
}
