import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { Diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { Random } from "../base/random.ts";
import { starter } from "../nn/models/starter.ts";
import { buildNet } from "../nn/net.ts";
import type { DType } from "./dtype.ts";
import { functionKey, type Graph, type ValueType } from "./graph.ts";
import { parseGraph } from "./parse.ts";
import { printGraph } from "./print.ts";
import { graph } from "./text.test-helper.ts";
import { containerType, sequenceOf, typeOnly } from "./value-type.ts";
import { graphDiagnostics } from "./verify.ts";

/** The findings of a text that is no graph. */
function faultsOf(text: string): readonly Diagnostic[] {
  try {
    parseGraph(text);
    return [];
  } catch (error) {
    if (!(error instanceof SkipwayError)) throw error;
    expect(error.code).toBe("input");
    for (const one of error.diagnostics) expect(one.fix ?? "").not.toBe("");
    return error.diagnostics;
  }
}

/** The graphs in the page about the form. */
function examples(): string[] {
  const page = readFileSync("docs/reference/text-form.md", "utf8");
  return [...page.matchAll(/```onnx\n([\s\S]*?)```/g)].map((found) => found[1] ?? "");
}

describe("what is accepted", () => {
  const same = (a: Graph, b: Graph): void => expect(a).toEqual(b);
  const op = (body: string): Graph => parseGraph(`g (float x) => (float y) { y = Op ${body} }`);

  test.each([
    ["attributes before or after the inputs", "<a = 1> (x)", "(x) <a = 1>"],
    ["arguments left out", '(x, "", x)', "(x,,x)"],
    ["a comma at the end", "(x)", "(x,)"],
    [
      "types of attributes",
      '<a = 1, b = [1.5], c = "s"> (x)',
      '<a: int = 1, b: floats = [1.5], c: string = "s"> (x)',
    ],
    ["integers for floats", "<a = 2.0, b = [1.0, 2.0]> (x)", "<a: float = 2, b = [1.0, 2]> (x)"],
    ["comments and line ends", "<a = 1> (x)", "# op\n<a\n=1>#\r\n(x)"],
    [
      "names of tensors in attributes",
      "<a = int64[2] {1, 2}> (x)",
      "<a: tensor = int64[2] t = {1, 2}> (x)",
    ],
    [
      "words for floats",
      "<a = inf, b = -inf, c = nan> (x)",
      "<a = Infinity, b = -INF, c = NaN> (x)",
    ],
    ["escapes in strings", '<a = "a"> (x)', '<a = "\\a"> (x)'],
  ])("%s", (_what, plain, other) => same(op(plain), op(other)));

  test("elements left out, in each way", () => {
    const absent = graph`g () => () <int4[3] w = {}> {}`;
    expect(absent.initializers.get("w")?.data).toEqual({ kind: "absent" });
    for (const text of ["{…}", "{...}", "..."]) {
      same(parseGraph(`g () => () <int4[3] w = ${text}> {}`, { opsets: absent.opsets }), absent);
    }
    const empty = graph`g () => () <int4[0] w = {}, string[0,2] s = {…}> {}`;
    expect(empty.initializers.get("w")?.data.kind).toBe("bytes");
    expect(empty.initializers.get("s")?.data.kind).toBe("strings");
  });

  test("an input with elements is an input and an initializer", () => {
    const made = graph`g (float[2] w = {1, 2}) => () {}`;
    expect(made.inputs.map((value) => value.name)).toEqual(["w"]);
    expect([...made.initializers.keys()]).toEqual(["w"]);
  });

  test("containers hold what they say; of other types the graph keeps what it keeps of a file", () => {
    const { inputs, outputs, values } = graph`
      g (seq(int64[N]) a, optional(seq(double)) b, map(int64, seq(map(string, double[]))) c,
         sparse_tensor(int8[3]) d, opaque(a.b,c) e, f, float[-1,""] h, seq(opaque()) i) =>
        (seq(float) y) <optional(float[]) z> { y, z = Op () }`;
    const map = (key: DType, of: ValueType): ValueType => containerType({ kind: "map", key, of });
    const optional = (of: ValueType): ValueType => containerType({ kind: "optional", of });
    const unknown: ValueType = { dtype: "float32", shape: undefined };
    expect(inputs.map(typeOnly)).toEqual([
      sequenceOf({ dtype: "int64", shape: ["N"] }),
      optional(sequenceOf({ dtype: "float64", shape: [] })),
      map("int64", sequenceOf(map("string", { dtype: "float64", shape: undefined }))),
      { dtype: "int8", shape: [3] },
      unknown,
      unknown,
      { dtype: "float32", shape: ["?", "?"] },
      sequenceOf(unknown),
    ]);
    expect(outputs).toEqual([{ name: "y", ...sequenceOf({ dtype: "float32", shape: [] }) }]);
    expect(values.get("z")).toEqual({ name: "z", ...optional(unknown) });
  });

  test("an overload belongs to the call and to the function", () => {
    const { nodes, functions } = graph`
      g (float x) => (float y) { a = pkg.f:wide (x)  b = pkg.f:"a b" <k = 1> (a)  y = pkg.f:"" (b) }
      <domain: "pkg", overload: "wide", opset_import: ["" : 20]> f (a) => (b) { b = Neg (a) }
      <overload: "a b", domain: "pkg", opset_import: ["" : 20]> f (a) => (b) { b = Abs (a) }
      <overload: "", domain: "pkg", opset_import: ["" : 20]> f (a) => (b) { b = Relu (a) }`;
    expect(nodes.map((node) => node.overload)).toEqual(["wide", "a b", undefined]);
    const called = nodes.map((node) => functions?.get(functionKey(node))?.nodes[0]?.op);
    expect(called).toEqual(["Neg", "Abs", "Relu"]);
  });

  test("a body whose value hides one around it, which a file may have too", () => {
    const made = graph`
      g (bool c, float x) => (float y)
      { y = If (c) <then_branch = b () => (float r) { x = Op ()  r = Relu (x) }> }`;
    expect(graphDiagnostics(made).map((one) => one.severity)).toEqual(["warning"]);
    same(parseGraph(printGraph(made)), made);
  });

  test("the names of nodes are each their own, as when a file is read", () => {
    const { nodes } = graph`
      g (float x) => () { a = Op (x)  [n] b = Op (x)  [n] c = Op (x)  [] d = Op (x)  [Op_0] = Op (x) }`;
    expect(nodes.map((node) => node.name)).toEqual(["Op_0", "n", "n_1", "Op_3", "Op_0_1"]);
  });

  test("the examples of the page are graphs, and are printed as they stand there", () => {
    expect(examples().length).toBeGreaterThan(2);
    for (const text of examples()) expect(printGraph(parseGraph(text))).toBe(text);
  });
});

describe("what is refused", () => {
  test("says where, what was expected, and shows the line", () => {
    const text = "g (float x) => (float y)\n{\n\ty = Relu (x\n  z = Relu (y)\n}";
    expect(faultsOf(text)).toEqual([
      {
        id: "text/syntax",
        severity: "error",
        where: "text:4:3",
        text: 'expected "," or ")", found "z"\n  z = Relu (y)\n  ^',
        notes: [],
        fix: "Correct the text at the caret; docs/reference/text-form.md has the grammar.",
      },
    ]);
  });

  const inGraph = (known: string, nodes = ""): string => `g (float x) => () <${known}> {${nodes}}`;
  test.each([
    ["nothing", " \n", "text:1:1", /expected the name of a graph, found the end of the text/],
    ["a cut text", "g (float x) =>\n\n", "text:1:15", /expected "\(", found the end/],
    ["a string without end", 'g ("x) => () {}', "text:1:4", /this string does not end/],
    ["float32", "g (float32[3] x) => () {}", "text:1:4", /"float32" is no type/],
    [
      "an unknown attribute type",
      inGraph("float y", " = Op <a: real = 1> ()"),
      "text:1:40",
      /expected a type of attributes/,
    ],
    [
      "a number for a name",
      inGraph("float 3"),
      "text:1:26",
      /expected the name of a value, found the number 3/,
    ],
    ["a symbol as size of a tensor", inGraph("float[N] w = {1}"), "text:1:20", /sizes only/],
    ["too few elements", inGraph("float[3] w = {1, 2}"), "text:1:38", /asks for 3 .* 2 are given/],
    [
      "too many elements",
      inGraph("float[1] w = {1, 2}"),
      "text:1:37",
      /asks for 1 .* more are given/,
    ],
    [
      "a fraction among integers",
      inGraph("int8[1] w = {1.5}"),
      "text:1:33",
      /expected an integer, found the number 1.5/,
    ],
    [
      "an integer out of range",
      inGraph("int4[1] w = {8}"),
      "text:1:33",
      /out of range: -2\^3 to 2\^3-1/,
    ],
    ["a float out of range", inGraph("float[1] w = {1e39}"), "text:1:34", /too large for a float/],
    ["bits of no NaN", inGraph("float w = {nan(1)}"), "text:1:35", /not the bits of a NaN/],
    [
      "a mixed list",
      inGraph("float y", " = Op <a = [1, 1.5]> ()"),
      "text:1:45",
      /of type int, found one of type float/,
    ],
    [
      "an empty list without type",
      inGraph("float y", " = Op <a = []> ()"),
      "text:1:43",
      /an empty list needs its type/,
    ],
    [
      "a list for one value",
      inGraph("float y", " = Op <a: int = [1]> ()"),
      "text:1:46",
      /expected the value of an attribute/,
    ],
    ["the same initializer twice", inGraph("float w = {}, float w = {}"), "text:1:34", /twice/],
    [
      "the same attribute twice",
      inGraph("float y", " = Op <a = 1, a = 2> ()"),
      "text:1:44",
      /twice/,
    ],
    [
      "an overload without name",
      inGraph("float y", " = Op: <a = 1> (x)"),
      "text:1:37",
      /expected the name of an overload, found "<"/,
    ],
    [
      "an overload twice",
      `g () => () {} ${'<domain: "d", overload: "v"> f () => () {} '.repeat(2)}`,
      "text:1:58",
      /the function "d\/f\/v" stands in the text twice/,
    ],
    ["keys with a shape", "g (map(int64[2], float) x) => () {}", "text:1:13", /expected ","/],
    [
      "keys of no type",
      "g (map(seq(float), float) x) => () {}",
      "text:1:8",
      /expected the type of keys, such as int64 or string, found "seq"/,
    ],
    ["elements of a container", inGraph("seq(float[1]) w = {1}"), "text:1:20", /sizes only/],
    [
      "a type as attribute",
      inGraph("float y", " = Op <a = seq(float)> (x)"),
      "text:1:41",
      /type_proto/,
    ],
    ["an unknown field", "<opsets: []> g () => () {}", "text:1:2", /"opsets" is no field/],
    ["a negative version", '<opset_import: ["": -1]> g () => () {}', "text:1:21", /out of range/],
    ["text behind the graph", "g () => () {} 3", "text:1:15", /expected a function or the end/],
  ])("%s", (_what, text, where, message) => {
    const [found] = faultsOf(text);
    expect(found?.where).toBe(where);
    expect(found?.text).toMatch(message);
  });

  test("says what other formats' names for types are here", () => {
    expect(faultsOf("g (float32[3] x) => () {}")[0]?.fix).toBe('Write "float".');
    expect(faultsOf("g (seq(float64) x) => () {}")[0]?.fix).toBe('Write "double".');
    expect(faultsOf("g (map(float32, float) x) => () {}")[0]?.fix).toBe('Write "float".');
    expect(faultsOf("g (half x) => () {}")[0]?.fix).toMatch(/float16/);
  });

  test("all faults of a graph that is not sound", () => {
    const found = faultsOf("g (float x) => (float z) { y = Relu (nowhere)  y = Relu (x) }");
    expect(found.map((one) => one.id)).toEqual([
      "graph/undefined-value",
      "graph/duplicate-value",
      "graph/undefined-value",
    ]);
  });

  test("long lines are cut around the fault", () => {
    const text = `g () => () <int64[9999] w = {${"1, ".repeat(5000)}oops, ${"1, ".repeat(5000)}}> {}`;
    const [, line = "", caret = ""] = faultsOf(text)[0]?.text.split("\n") ?? [];
    expect(line.length).toBeLessThan(110);
    expect(line.slice(caret.indexOf("^"))).toMatch(/^oops/);
  });

  test("nesting is bounded", () => {
    const ids = (text: string): (string | undefined)[] => faultsOf(text).map((one) => one.id);
    const body = (depth: number): string =>
      `${"g () => () { = If () <b = ".repeat(depth)}g () => () {}${">}".repeat(depth)}`;
    expect(ids(body(limits.subgraphDepthMax))).toEqual([]);
    expect(ids(body(limits.subgraphDepthMax + 1))).toEqual(["text/limit"]);
    expect(ids(body(100_000))).toEqual(["text/limit"]);
    const nested = (depth: number): string =>
      `g (${"seq(".repeat(depth)}float${")".repeat(depth)} x) => () {}`;
    expect(ids(nested(limits.subgraphDepthMax + 1))).toEqual([]);
    expect(ids(nested(limits.subgraphDepthMax + 2))).toEqual(["text/limit"]);
    expect(ids(`g (${"seq(".repeat(100_000)}`)).toEqual(["text/limit"]);
    expect(ids(`g (${"map(int64,".repeat(100_000)}`)).toEqual(["text/limit"]);
    expect(ids(`g (float[${"1,".repeat(100_000)}1] x) => () {}`)).toEqual(["text/limit"]);
    expect(ids(`g () => () <float[${2 ** 40},${2 ** 40}] x = {}> {}`)).toEqual(["text/limit"]);
    expect(ids(`g () => () <int64 x = {${"9".repeat(100_000)}}> {}`)).toEqual(["text/syntax"]);
  });

  test("a text with random edits is a graph or has a finding", () => {
    const input = { name: "image", shape: [1, 8, 8] };
    const built = buildNet(starter({ skips: true }), { input, output: "y", seed: 1 });
    const texts = [...examples(), printGraph(built, { elideAbove: 4 })];
    const random = new Random(20260202);
    const alphabet = '(){}[]<>,:=.@?"\\…-#\n =>1.5e9 nan(inf float seq( If Aé';
    const edit = (text: string): string => {
      const [from, kind] = [random.integer(text.length + 1), random.integer(4)];
      const to = from + random.integer(kind === 0 ? 400 : 4);
      const start = random.integer(alphabet.length);
      const part = alphabet.slice(start, start + 1 + random.integer(3));
      const put = kind === 0 ? "" : kind === 1 ? text.slice(from, to).repeat(3) : part;
      return text.slice(0, from) + put + text.slice(kind === 3 ? from : to);
    };
    let read = 0;
    for (let round = 0; round < 800; round++) {
      let text = texts[random.integer(texts.length)] ?? "";
      for (let i = random.integer(4); i >= 0; i--) text = edit(text);
      if (faultsOf(text).length === 0) read++;
    }
    expect(read).toBeGreaterThan(30);
  });
});
