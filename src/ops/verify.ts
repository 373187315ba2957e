// Would the runtime take this graph? Every node against the schema of its op, in the version that the
// model declares: in the graph, in the bodies of control flow and in functions. Never throws, in time
// proportional to the graph; all findings, not just the first.
//
// Errors, which ONNX Runtime refuses as well (tried with 1.30):
//   ops/newer-than-opset    the op is not yet in the operator set that the model declares (a warning for
//                           three ops that the runtime has always had)
//   ops/input-count, ops/output-count      too few or too many, of an op or of a function
//   ops/missing-input, ops/missing-output  left out, but required
//   ops/unknown-attribute, ops/missing-attribute, ops/attribute-kind
//   ops/body-arguments, ops/body-type      a body of If, Loop or Scan that does not fit its node
//   ops/input-type          a type that the version does not take
//   ops/type-conflict       two inputs that must be of one type and are not
//   ops/output-type         the file declares another type than the op gives
//   ops/weight-type         an initializer of another type than the input whose default it is
//   ops/deprecated          (a warning where a later version took the op up again)
// Warnings: ops/no-opset    the model declares no version of a domain; the newest is assumed
// Info:     ops/unknown-op  the op is not in the standard, though its domain is

import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import type { Graph, GraphFunction, Node, Value, ValueName } from "../graph/graph.ts";
import { subgraphs } from "../graph/graph.ts";
import { Scope } from "../graph/scope.ts";
import { clipName, functionDiagnostics, graphDiagnostics } from "../graph/verify.ts";
import { type Body, bodyDiagnostics, fromBodies, handedIn, type TypeList } from "./check-bodies.ts";
import { callDiagnostics, finding, newerThanOpset, nodeDiagnostics } from "./check-node.ts";
import { checkTypes } from "./check-types.ts";
import { type OpSchema, schemasOf, standardOps, type TypeName } from "./schema.ts";

/**
 * Everything that can be said against a graph: what `graphDiagnostics` finds, in functions too, and what
 * the schemas of the ops object to. Empty for a sound graph; ops and domains that are not in the standard
 * are left alone.
 */
export function verify(graph: Graph): Diagnostic[] {
  const verifier = new Verifier(graph);
  const found = [...graphDiagnostics(graph)];
  for (const [name, called] of graph.functions ?? []) {
    found.push(...functionDiagnostics(name, called));
  }
  return [...found, ...verifier.run()];
}

const DOMAINS = new Set(standardOps().map((key) => key.slice(0, key.lastIndexOf("/"))));

type Opsets = ReadonlyMap<string, number>;
type Types = Scope<TypeName | undefined>;

class Verifier {
  readonly #graph: Graph;
  readonly #functions: ReadonlyMap<string, GraphFunction>;
  readonly #found: Diagnostic[] = [];
  /** Domains without a version, each named once. */
  readonly #unversioned = new Set<string>();

  constructor(graph: Graph) {
    this.#graph = graph;
    this.#functions = graph.functions ?? new Map();
  }

  run(): readonly Diagnostic[] {
    this.#visit(this.#graph, this.#graph.opsets);
    for (const called of this.#functions.values()) {
      const types: Types = new Scope();
      for (const name of called.inputs) types.set(name, undefined);
      this.#nodes(called.nodes, { declared: new Map(), types, opsets: called.opsets });
    }
    return this.#found;
  }

  /** A graph with the types of its inputs and outputs; a body's inputs are typed by what it is given. */
  #visit(graph: Graph, opsets: Opsets, within?: { outer: Types; given: TypeList }): Body {
    const types: Types = new Scope(within?.outer);
    const inputs = graph.inputs.map(typeNameOf);
    for (const [i, value] of graph.inputs.entries()) {
      types.set(value.name, inputs[i] ?? within?.given[i]);
    }
    for (const [name, ref] of graph.initializers) {
      const declared = types.owns(name) ? types.get(name) : undefined;
      if (declared !== undefined && declared !== ref.dtype) {
        this.#found.push(otherWeight(name, declared, ref.dtype));
      }
      types.set(name, ref.dtype);
    }
    const declared = new Map<ValueName, TypeName | undefined>();
    for (const value of graph.values.values()) declared.set(value.name, typeNameOf(value));
    for (const value of graph.outputs) declared.set(value.name, typeNameOf(value));
    this.#nodes(graph.nodes, { declared, types, opsets });
    const outputs = graph.outputs.map((value) => types.get(value.name) ?? typeNameOf(value));
    return { graph, inputs, outputs };
  }

  #nodes(nodes: readonly Node[], around: Around): void {
    const { declared, types } = around;
    for (const node of nodes) {
      const given = this.#node(node, around);
      for (const [i, name] of node.outputs.entries()) {
        if (name !== "") types.set(name, given[i] ?? declared.get(name));
      }
    }
  }

  /** The types of a node's outputs. */
  #node(node: Node, { declared, types, opsets }: Around): TypeList {
    const called = this.#functions.get(`${node.domain}/${node.op}`);
    const opset = opsets.get(node.domain);
    const schema = called === undefined ? this.#schema(node, opset) : undefined;
    const version = opset ?? schema?.since ?? 0;
    const inside = subgraphs(node);
    const inputs = node.inputs.map((name) => types.get(name));
    const within = { outer: types, given: handedIn(node, version, inputs) };
    const bodies = inside.map((body) => this.#visit(body, opsets, within));
    if (called !== undefined) this.#found.push(...callDiagnostics(node, called));
    if (schema === undefined) return [];
    const checked = checkTypes(node, schema, {
      opset: version,
      inputs,
      declared: (name) => declared.get(name),
      fromBodies: fromBodies(node, version, bodies),
    });
    this.#found.push(
      ...nodeDiagnostics(node, schema),
      ...bodyDiagnostics(node, version, { given: inputs, bodies }),
      ...checked.found,
    );
    return checked.outputs;
  }

  /** The schema in force; what stands in the way of one is a finding. */
  #schema(node: Node, opset: number | undefined): OpSchema | undefined {
    const versions = schemasOf(node.domain, node.op);
    const [first] = versions;
    if (first === undefined) {
      if (DOMAINS.has(node.domain)) this.#found.push(unknownOp(node));
      return undefined;
    }
    if (opset === undefined) {
      if (!this.#unversioned.has(node.domain)) this.#found.push(noOpset(node));
      this.#unversioned.add(node.domain);
      return versions.at(-1);
    }
    const schema = versions.findLast((one) => one.since <= opset);
    if (schema === undefined) this.#found.push(newerThanOpset(node, opset, first));
    return schema;
  }
}

/** What a node stands in. */
interface Around {
  readonly declared: ReadonlyMap<ValueName, TypeName | undefined>;
  readonly types: Types;
  readonly opsets: Opsets;
}

/**
 * The type of a value, if it is a tensor for sure: values of other types, and those of which the file says
 * nothing, have an element type too, but never a shape.
 */
function typeNameOf(value: Value): TypeName | undefined {
  return value.shape === undefined ? undefined : value.dtype;
}

function unknownOp(node: Node): Diagnostic {
  const domain = node.domain === "" ? "ai.onnx" : node.domain;
  return finding(node, "unknown-op", "info", {
    text: `is no op of the domain ${domain}, in any version known here`,
    fix: "Nothing, if the runtime has it as an extension; else export the model with standard ops.",
  });
}

function noOpset(node: Node): Diagnostic {
  const domain = node.domain === "" ? "ai.onnx" : node.domain;
  return finding(node, "no-opset", "warning", {
    text: `the model declares no version of the domain ${domain}; the newest is assumed`,
    fix: `Add an opset_import for ${domain}.`,
  });
}

function otherWeight(name: ValueName, declared: TypeName, dtype: TypeName): Diagnostic {
  return diagnostic({
    id: "ops/weight-type",
    severity: "error",
    where: `initializer ${clipName(name)}`,
    text: `holds ${dtype}, the input of that name is declared as ${declared}`,
    fix: `Declare the input as ${dtype}.`,
  });
}
