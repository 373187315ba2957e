import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { sound } from "../../test/sound.ts";
import { GraphBuilder } from "../graph/build.ts";
import { type DType, isDType } from "../graph/dtype.ts";
import {
  type Attribute,
  float,
  type Graph,
  type GraphFunction,
  int,
  ints,
  type Node,
  string,
} from "../graph/graph.ts";
import { float32, int64 } from "../graph/tensor.ts";
import { type OpSchema, type SchemaArgument, schemasOf, standardOps } from "./schema.ts";
import { verify } from "./verify.ts";

const OPSETS = new Map([["", 20]]);

function idsOf(graph: Graph): string[] {
  return verify(graph).map((one) => `${one.severity} ${one.id}`);
}

interface Sketch {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
  readonly domain?: string;
  readonly outputs?: readonly string[];
  readonly opset?: number;
  /** Declared types of outputs. */
  readonly declared?: Readonly<Record<string, DType>>;
}

/** One node among inputs of several types: `f`, `g` float32, `d` float64, `i` int64, `b` bool. */
function one(sketch: Sketch): Graph {
  const b = new GraphBuilder();
  for (const name of ["f", "g"]) b.input(name, "float32", [2, 3]);
  b.input("d", "float64", [2, 3]);
  b.input("i", "int64", [2]);
  b.input("b", "bool", []);
  const { op, inputs, outputs = ["y"], attributes = {}, domain = "" } = sketch;
  b.emit(op, inputs, { outputs, attributes, domain, name: "n" });
  for (const [name, dtype] of Object.entries(sketch.declared ?? {})) {
    b.setType(name, { dtype, shape: ["?"] });
  }
  return b.finish("g", new Map([["", sketch.opset ?? 20]]));
}

/** A graph with one value made inside. */
function body(
  op: string,
  inputs: readonly string[],
  given: { takes?: readonly [string, DType][]; gives?: readonly [string, DType][] } = {},
): Attribute {
  const b = new GraphBuilder();
  for (const [name, dtype] of given.takes ?? []) b.input(name, dtype, ["?"]);
  b.emit(op, inputs, { outputs: ["inside"], name: "inner" });
  for (const [name, dtype] of given.gives ?? [["inside", "float32"]]) {
    b.output({ name, dtype, shape: undefined });
  }
  return { kind: "graph", value: b.finish("body", new Map()) };
}

function branches(then: Attribute, other: Attribute): Record<string, Attribute> {
  return { then_branch: then, else_branch: other };
}

const LOOP_INPUTS: readonly [string, DType][] = [
  ["step", "int64"],
  ["again", "bool"],
  ["state", "float32"],
];

/** What is wrong, or nothing; each fault beside something like it that is right. */
const CASES: readonly (readonly [string, readonly string[], Sketch])[] = [
  ["a sum", [], { op: "Add", inputs: ["f", "g"] }],
  ["a sum of one", ["error ops/input-count"], { op: "Add", inputs: ["f"] }],
  ["a sum of three", ["error ops/input-count"], { op: "Add", inputs: ["f", "g", "f"] }],
  ["any number into Sum", [], { op: "Sum", inputs: ["f", "g", "f", "g"] }],
  ["nothing into Sum", ["error ops/input-count"], { op: "Sum", inputs: [] }],
  ["a bound left out", [], { op: "Clip", inputs: ["f", "", "f"] }],
  ["a number left out", ["error ops/missing-input"], { op: "Add", inputs: ["f", ""] }],
  ["two results of one", ["error ops/output-count"], reluAs({ outputs: ["y", "z"] })],
  ["no result", ["error ops/output-count"], reluAs({ outputs: [] })],
  ["an unnamed result", ["error ops/missing-output"], reluAs({ outputs: [""] })],
  ["the mask left out", [], { op: "Dropout", inputs: ["f"], outputs: ["y", ""] }],
  ["an attribute of another op", ["error ops/unknown-attribute"], relu({ alpha: float(1) })],
  ["its own attribute", [], relu({ alpha: float(1) }, "LeakyRelu")],
  ["a note of a tool", [], relu({ __note: float(1) })],
  ["an int for a float", ["error ops/attribute-kind"], relu({ alpha: int(1) }, "LeakyRelu")],
  ["concatenation", [], { op: "Concat", inputs: ["f", "g"], attributes: { axis: int(0) } }],
  ["along no axis", ["error ops/missing-attribute"], { op: "Concat", inputs: ["f", "g"] }],
  ["axes in 12", [], squeeze(12)],
  ["axes in 13", ["error ops/unknown-attribute"], squeeze(13)],
  ["Gelu in 20", [], relu({}, "Gelu")],
  ["Gelu in 19", ["error ops/newer-than-opset"], { ...relu({}, "Gelu"), opset: 19 }],
  ["a norm of the runtime", ["warning ops/newer-than-opset"], norm("LayerNormalization", 16)],
  ["a norm that came back", ["warning ops/deprecated"], groupNorm(18)],
  ["as it came back", [], groupNorm(21)],
  ["Scatter in 10", [], { op: "Scatter", inputs: ["f", "i", "f"], opset: 10 }],
  ["Scatter in 11", ["error ops/deprecated"], { op: "Scatter", inputs: ["f", "i", "f"] }],
  ["a float root", [], relu({}, "Sqrt")],
  ["an integer root", ["error ops/input-type"], { op: "Sqrt", inputs: ["i"] }],
  ["integers in 14", [], { op: "Relu", inputs: ["i"], opset: 14 }],
  ["integers in 13", ["error ops/input-type"], { op: "Relu", inputs: ["i"], opset: 13 }],
  ["float and double", ["error ops/type-conflict"], { op: "Add", inputs: ["f", "d"] }],
  ["the third of Sum", ["error ops/type-conflict"], { op: "Sum", inputs: ["f", "g", "d"] }],
  ["types that may differ", [], { op: "Where", inputs: ["b", "f", "g"] }],
  ["a fitting declaration", [], reluAs({ declared: { y: "float32" } })],
  ["another declaration", ["error ops/output-type"], reluAs({ declared: { y: "float64" } })],
  ["a comparison", [], { op: "Less", inputs: ["f", "g"], declared: { y: "bool" } }],
  ["no comparison", ["error ops/output-type"], less("float32")],
  ["a cast", [], cast("float64")],
  ["another cast", ["error ops/output-type"], cast("float32")],
  ["an unknown op", ["info ops/unknown-op"], relu({}, "Rule")],
  ["an op named as what all objects have", ["info ops/unknown-op"], relu({}, "constructor")],
  ["an op of someone", [], { op: "Relu", inputs: [], domain: "com.example" }],
  ["a domain without version", ["warning ops/no-opset"], scaler()],
  ["an If", [], branch(body("Relu", ["f"]), body("Neg", ["f"]))],
  ["a fault inside", ["error ops/input-count"], branch(body("Relu", []), body("Neg", ["f"]))],
  [
    "branches of two types",
    ["error ops/body-type"],
    branch(body("Relu", ["f"]), body("Neg", ["i"])),
  ],
  [
    "a branch that gives nothing",
    ["error ops/body-arguments"],
    branch(body("Relu", ["f"]), empty()),
  ],
  ["a Loop", [], loop(["inside"])],
  [
    "a Loop that takes too little",
    ["error ops/body-arguments"],
    loop(["inside"], LOOP_INPUTS.slice(1)),
  ],
  ["a state that changes its type", ["error ops/body-type"], loop(["again"])],
];

function relu(attributes: Readonly<Record<string, Attribute>>, op = "Relu"): Sketch {
  return { op, inputs: ["f"], attributes };
}
function reluAs(given: Partial<Sketch>): Sketch {
  return { op: "Relu", inputs: ["f"], ...given };
}
function squeeze(opset: number): Sketch {
  return { op: "Squeeze", inputs: ["f"], attributes: { axes: ints([0]) }, opset };
}
function norm(op: string, opset: number): Sketch {
  return { op, inputs: ["f", "g"], opset };
}
function groupNorm(opset: number): Sketch {
  const inputs = ["f", "g", "f"];
  return { op: "GroupNormalization", inputs, attributes: { num_groups: int(1) }, opset };
}
function less(dtype: DType): Sketch {
  return { op: "Less", inputs: ["f", "g"], declared: { y: dtype } };
}
function cast(dtype: DType): Sketch {
  return { op: "Cast", inputs: ["f"], attributes: { to: int(11) }, declared: { y: dtype } };
}
function scaler(): Sketch {
  return { op: "Scaler", inputs: ["f"], domain: "ai.onnx.ml" };
}
function branch(then: Attribute, other: Attribute): Sketch {
  return { op: "If", inputs: ["b"], attributes: branches(then, other) };
}
function empty(): Attribute {
  return { kind: "graph", value: new GraphBuilder().finish("empty", new Map()) };
}
function loop(results: readonly string[], takes = LOOP_INPUTS): Sketch {
  const gives = ["b", ...results].map((name): [string, DType] => [name, "float32"]);
  const inner = body("Relu", ["f"], { takes, gives });
  return { op: "Loop", inputs: ["", "b", "f"], attributes: { body: inner } };
}

describe("verify", () => {
  test.each(CASES)("%s", (_what, expected, sketch) => {
    expect(idsOf(one(sketch))).toEqual(expected);
  });

  test("each finding is in the reference, with its severity", () => {
    const page = readFileSync("docs/reference/graph-findings.md", "utf8").split("\n");
    const rows = page.filter((line) => line.startsWith("| `"));
    for (const id of new Set(CASES.flatMap(([, expected]) => expected))) {
      const [severity = "", name = ""] = id.split(" ");
      const row = rows.find((line) => line.includes(`\`${name}\``)) ?? "";
      expect(row, id).toContain(severity);
    }
  });

  test("says all that is wrong, where, why and what to do", () => {
    const graph = one({ op: "Add", inputs: ["f", "d", "f"], attributes: { axes: string("x") } });
    const found = verify(graph);
    expect(found.map((it) => it.id).sort()).toEqual([
      "ops/input-count",
      "ops/type-conflict",
      "ops/unknown-attribute",
    ]);
    for (const it of found)
      expect([it.where, it.fix === undefined]).toEqual(["node n (Add)", false]);
    expect(found.map((it) => it.text)).toContain(
      '"A" is float32 and "B" is float64; they must be of one type',
    );
  });

  test("follows types through what is not declared", () => {
    const b = new GraphBuilder();
    b.input("x", "float32", [2]);
    b.emit("Shape", ["x"], { outputs: ["s"] });
    b.emit("Identity", ["s"], { outputs: ["t"] });
    b.emit("Add", ["t", "x"], { outputs: ["y"], name: "sum" });
    expect(verify(b.finish("g", OPSETS)).map((it) => [it.id, it.where])).toEqual([
      ["ops/type-conflict", "node sum (Add)"],
    ]);
  });

  test("a weight has the type of the input whose default it is", () => {
    const b = new GraphBuilder();
    b.input("x", "float32", [1]);
    b.initializer("x", float32([1], [1]));
    b.emit("Relu", ["x"], { outputs: ["y"] });
    sound(b.finish("g", OPSETS));
    const other = new GraphBuilder();
    other.input("x", "float32", [1]);
    other.initializer("x", int64([1], [1]));
    expect(idsOf(other.finish("g", OPSETS))).toEqual(["error ops/weight-type"]);
  });

  test("functions are looked into once, and their calls counted", () => {
    const inner = (op: string, inputs: string[]): Node => ({
      name: "inner",
      op,
      domain: "",
      inputs,
      outputs: ["r"],
      attributes: new Map(),
    });
    const called = (node: Node): GraphFunction => ({
      inputs: ["a"],
      outputs: ["r"],
      nodes: [node],
      defaults: new Map(),
      opsets: new Map([["", 20]]),
    });
    const calling = (fn: GraphFunction, inputs: string[]): Graph => {
      const b = new GraphBuilder();
      b.input("x", "float32", [1]);
      for (const y of ["y", "z"]) b.emit("F", inputs, { domain: "own", outputs: [y] });
      return { ...b.finish("g", OPSETS), functions: new Map([["own/F", fn]]) };
    };
    expect(idsOf(calling(called(inner("Relu", ["a"])), ["x"]))).toEqual([]);
    expect(idsOf(calling(called(inner("Relu", ["a", "a"])), ["x"]))).toEqual([
      "error ops/input-count",
    ]);
    expect(idsOf(calling(called(inner("Relu", ["elsewhere"])), ["x"]))).toEqual([
      "error graph/undefined-value",
    ]);
    expect(idsOf(calling(called(inner("Relu", ["a"])), ["x", "x"]))).toEqual([
      "error ops/input-count",
      "error ops/input-count",
    ]);
  });
});

/** An attribute of each kind. */
function anAttribute(kind: string): Attribute {
  switch (kind) {
    case "int":
      return int(1);
    case "ints":
      return ints([1]);
    case "float":
      return float(1);
    case "floats":
      return { kind, value: [1] };
    case "string":
      return string("NOTSET");
    case "strings":
      return { kind, value: ["x"] };
    case "tensor":
      return { kind, value: float32([1], [1]) };
    case "graph":
      return { kind, value: new GraphBuilder().finish("body", new Map()) };
    default:
      return { kind: "opaque", bytes: new Uint8Array() };
  }
}

/** A type that an argument takes; undefined for one that takes no tensors. */
function dtypeOf({ allowed }: SchemaArgument): DType | undefined {
  return allowed.has("float32") ? "float32" : [...allowed].find(isDType);
}

/** A node with the inputs, outputs and attributes that a version requires, of types that it takes. */
function leastNode(schema: OpSchema): { graph: Graph; node: Node } {
  const b = new GraphBuilder();
  const chosen = new Map<string, DType>();
  const inputs = schema.inputs
    .filter((it) => it.option !== "optional")
    .flatMap((it, i) =>
      Array.from({ length: it.option === "variadic" ? it.minimum : 1 }, (_, k) => {
        const dtype = chosen.get(it.variable ?? "") ?? dtypeOf(it);
        // A sequence, of which a graph cannot say that it is one.
        if (dtype === undefined) return b.input(`x${i}_${k}`, "float32", ["?"].slice(1));
        chosen.set(it.variable ?? "", dtype);
        return b.input(`x${i}_${k}`, dtype, ["?"]);
      }),
    );
  const count = schema.outputs.findLastIndex((it) => it.option !== "optional") + 1;
  const required = [...schema.attributes.values()].filter((it) => it.required);
  const node = b.emit(schema.type, inputs, {
    domain: schema.domain,
    outputs: Array.from({ length: Math.max(count, 1) }, (_, i) => `y${i}`),
    attributes: Object.fromEntries(required.map((it) => [it.name, anAttribute(it.kind)])),
  });
  return { graph: b.finish("g", new Map([[schema.domain, schema.since]])), node };
}

const CONTROL = new Set(["If", "Loop", "Scan"]);
const SCHEMAS = standardOps()
  .flatMap((key) => {
    const at = key.lastIndexOf("/");
    return schemasOf(key.slice(0, at), key.slice(at + 1));
  })
  .filter((it) => !it.deprecated && !CONTROL.has(it.type))
  // Sequences and maps cannot be declared.
  .filter((it) => it.inputs.every((input) => [...input.allowed].some(isDType)));

function changed(graph: Graph, change: Partial<Node>): string[] {
  return idsOf({ ...graph, nodes: graph.nodes.map((node) => ({ ...node, ...change })) });
}

describe("every version of every op", () => {
  test("the least node is sound, and each change of it is found", () => {
    expect(SCHEMAS.length).toBeGreaterThan(550);
    const counts = { inputs: 0, attributes: 0, kinds: 0, types: 0 };
    const wrong: string[] = [];
    for (const schema of SCHEMAS) {
      const { graph, node } = leastNode(schema);
      const needs = (what: string, ids: readonly string[], id?: string): void => {
        const right = id === undefined ? ids.length === 0 : ids.includes(`error ops/${id}`);
        if (!right) wrong.push(`${schema.type}-${schema.since} ${what}: ${ids.join()}`);
      };
      needs("as it is", idsOf(graph));
      const withOne = (name: string, value: Attribute): Node["attributes"] =>
        new Map([...node.attributes, [name, value] as const]);
      const extra = withOne("no_such", int(1));
      needs("and more", changed(graph, { attributes: extra }), "unknown-attribute");
      if (node.inputs.length > 0) {
        counts.inputs++;
        needs("less an input", changed(graph, { inputs: node.inputs.slice(1) }), "input-count");
      }
      for (const name of node.attributes.keys()) {
        counts.attributes++;
        const less = new Map([...node.attributes].filter(([it]) => it !== name));
        needs(`less ${name}`, changed(graph, { attributes: less }), "missing-attribute");
      }
      for (const { name, kind } of schema.attributes.values()) {
        counts.kinds++;
        const odd = withOne(name, kind === "int" ? float(1) : int(1));
        needs(`an odd ${name}`, changed(graph, { attributes: odd }), "attribute-kind");
      }
      const [first] = schema.inputs;
      if (first === undefined || first.allowed.has("complex128")) continue;
      counts.types++;
      const inputs = graph.inputs.map((value, i) =>
        i === 0 ? { ...value, dtype: "complex128" as const } : value,
      );
      needs("of another type", idsOf({ ...graph, inputs }), "input-type");
    }
    expect(wrong).toEqual([]);
    for (const count of Object.values(counts)) expect(count).toBeGreaterThan(80);
  });
});

describe("hostile graphs", () => {
  const text = fc.oneof(
    fc.constantFrom("x", "y", "", "__proto__", "then_branch", "axis", "to"),
    fc.string(),
  );
  const attribute: fc.Arbitrary<Attribute> = fc.oneof(
    fc.integer().map(int),
    fc.double().map(float),
    fc.array(fc.integer(), { maxLength: 4 }).map(ints),
    fc.string().map(string),
    fc.constantFrom(empty(), body("Relu", ["x"]), body("Add", [""])),
  );
  const op = fc.oneof(fc.constantFrom(...standardOps().map((key) => key.slice(1))), text);
  const node: fc.Arbitrary<Node> = fc.record({
    name: text.map((name) => `n${name}`),
    op,
    domain: fc.constantFrom("", "", "", "ai.onnx.ml", "own"),
    inputs: fc.array(text, { maxLength: 6 }),
    outputs: fc.array(text, { maxLength: 4 }),
    attributes: fc
      .array(fc.tuple(text, attribute), { maxLength: 4 })
      .map((entries) => new Map(entries)),
  });
  const opset = fc.oneof(fc.integer({ min: -1, max: 30 }), fc.double());

  test("get findings, whatever they are, with an id, a place and a fix", () => {
    fc.assert(
      fc.property(fc.array(node, { maxLength: 6 }), opset, (nodes, version) => {
        const b = new GraphBuilder();
        b.input("x", "float32", [2]);
        const graph = { ...b.finish("g", new Map([["", version]])), nodes };
        for (const found of verify(graph)) {
          expect(found.id).toMatch(/^(ops|graph)\/[a-z-]+$/);
          expect(found.where).not.toBe("");
          expect(found.fix).toMatch(/\.$/);
          expect(found.text.length).toBeLessThan(2000);
        }
      }),
      { numRuns: 200 },
    );
  });
});
