import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DAMAGES } from "../../test/damage.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import { Random } from "../base/random.ts";
import { canonicalize } from "../canonical/canonical.ts";
import { GraphBuilder } from "../graph/build.ts";
import { float, type Graph, int, ints, string } from "../graph/graph.ts";
import { parseGraph } from "../graph/parse.ts";
import { bytesOf, float32, int64, numbersOf, tensor } from "../graph/tensor.ts";
import { graphDiagnostics } from "../graph/verify.ts";
import { residual } from "../nn/blocks/residual.ts";
import { conv, dense, globalPool, relu, sequential } from "../nn/layers/index.ts";
import { buildNet } from "../nn/net.ts";
import { modelOf, withGraph } from "./onnx-model.ts";
import {
  ModelProtoSchema,
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProtoSchema,
} from "./proto/onnx_pb.js";
import { loadModel, readModel } from "./read.ts";
import { encodeModel } from "./write.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-onnx-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const OPSETS = new Map([
  ["", 20],
  ["custom", 1],
]);

const encoded = (tensor: TensorProto): Uint8Array => toBinary(TensorProtoSchema, tensor);

function body(): Graph {
  const b = new GraphBuilder();
  b.emit("Relu", ["x"], { name: "inner", outputs: ["inner.y"] });
  b.output({ name: "inner.y", dtype: "float32", shape: ["N", 3] });
  return b.finish("body", OPSETS);
}

/** A graph with one of everything that our types can say. */
function rich(): Graph {
  const b = new GraphBuilder();
  b.input("x", "float32", ["N", 3]);
  b.input("flag", "bool", []);
  b.initializer("w", float32([3, 3], [1, 2, 3, 4, 5, 6, 7, 8, 9.5]));
  b.initializer("k", int64([2], [-1, 3]));
  b.initializer("half", tensor("float16", [2], new Uint8Array([0, 60, 0, 64])));
  b.initializer("names", {
    dtype: "string",
    shape: [1],
    data: { kind: "strings", values: [Buffer.from("é")] },
  });
  b.initializer("later", { dtype: "float32", shape: [5, 5], data: { kind: "absent" } });
  b.emit("Gemm", ["x", "w"], {
    name: "g",
    attributes: {
      alpha: float(0.5),
      transB: int(1),
      list: ints([1, -2]),
      text: string("hé"),
      floats: { kind: "floats", value: [0.25, -1] },
      strings: { kind: "strings", value: ["a", ""] },
      big: { kind: "int", value: 2n ** 62n },
      t: { kind: "tensor", value: int64([], [7]) },
      bound: { kind: "reference", attribute: "slope", type: "float" },
      untyped: { kind: "reference", attribute: "any" },
    },
  });
  b.emit("If", ["flag"], {
    attributes: {
      then_branch: { kind: "graph", value: body() },
      else_branch: { kind: "graph", value: body() },
    },
    outputs: ["y"],
  });
  b.output({ name: "y", dtype: "float32", shape: ["N", 3] });
  return b.finish("rich", OPSETS, new Map([["author", "someone"]]));
}

/** A graph without what a comparison would trip over: maps become lists. */
function plain(graph: Graph): unknown {
  return JSON.parse(
    JSON.stringify(graph, (key, value: unknown) => {
      // What is known of values is not part of what is compared here.
      if (key === "values") return undefined;
      if (value instanceof Map) return [...value];
      if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
      return typeof value === "bigint" ? `${value}n` : value;
    }),
  );
}

describe("read and write", () => {
  test("what is written reads back the same", () => {
    const graph = rich();
    const again = readModel(encodeModel(modelOf(graph))).graph;
    expect(plain(again)).toEqual(plain(graph));
  });

  test("the same model gives the same bytes, also after reading", () => {
    const bytes = encodeModel(modelOf(rich()));
    expect(encodeModel(modelOf(rich()))).toEqual(bytes);
    expect(encodeModel(readModel(bytes))).toEqual(bytes);
  });

  test("random graphs survive", () => {
    const op = fc.constantFrom("Add", "Mul", "Conv", "Custom.Op");
    const node = fc.record({
      op,
      a: fc.nat(),
      b: fc.nat(),
      n: fc.maxSafeInteger(),
      f: fc.float({ noNaN: true }),
    });
    fc.assert(
      fc.property(fc.array(node, { maxLength: 20 }), (nodes) => {
        const b = new GraphBuilder();
        const values = [b.input("x", "float32", ["N", 2])];
        for (const { op, a, b: second, n, f } of nodes) {
          const pick = (i: number): string => values[i % values.length] ?? "x";
          const made = b.emit(op, [pick(a), "", pick(second)], {
            attributes: { n: int(n), f: float(f) },
          });
          values.push(made.outputs[0] ?? "");
        }
        b.output({ name: values.at(-1) ?? "", dtype: "float32", shape: undefined });
        const graph = b.finish("random", new Map([["", 13]]));
        const again = readModel(encodeModel(modelOf(graph))).graph;
        expect(plain(again)).toEqual(plain(graph));
      }),
      { numRuns: 60 },
    );
  });

  test("what the graph does not model is kept: unknown fields, documentation, annotations", () => {
    const proto = fromBinary(ModelProtoSchema, encodeModel(modelOf(rich())));
    proto.docString = "a model";
    if (proto.graph !== undefined) {
      proto.graph.docString = "a graph";
      proto.graph.metadataProps = [create(StringStringEntryProtoSchema, { key: "k", value: "v" })];
      for (const node of proto.graph.node) node.docString = `about ${node.name}`;
    }
    // Field 3999, length-delimited, as a later version of the format might add.
    const unknown = Buffer.from([0xfa, 0xf9, 0x01, 0x03, 0x61, 0x62, 0x63]);
    const bytes = Buffer.concat([toBinary(ModelProtoSchema, proto), unknown]);
    const model = readModel(bytes);
    expect(Buffer.from(encodeModel(model)).includes(unknown)).toBe(true);
    const changed = withGraph(model, { ...model.graph, name: "renamed" });
    const written = fromBinary(ModelProtoSchema, encodeModel(changed));
    expect(written.docString).toBe("a model");
    expect(written.graph?.docString).toBe("a graph");
    expect(written.graph?.name).toBe("renamed");
    expect(written.graph?.metadataProps[0]?.key).toBe("k");
    expect(written.graph?.node.map((node) => node.docString)).toContain("about g");
    expect(Buffer.from(encodeModel(changed)).includes(unknown)).toBe(true);
  });

  test("typed lists and raw bytes are the same tensor", () => {
    const proto = fromBinary(ModelProtoSchema, encodeModel(modelOf(rich())));
    const lists = [
      create(TensorProtoSchema, { name: "f", dataType: 1, dims: [2n], floatData: [1.5, -2] }),
      create(TensorProtoSchema, { name: "i", dataType: 6, dims: [2n], int32Data: [-7, 7] }),
      create(TensorProtoSchema, { name: "b", dataType: 9, dims: [2n], int32Data: [1, 0] }),
      create(TensorProtoSchema, { name: "d", dataType: 11, dims: [1n], doubleData: [0.1] }),
    ];
    proto.graph?.initializer.push(...lists.map(encoded));
    const { initializers } = readModel(toBinary(ModelProtoSchema, proto)).graph;
    const values = ["f", "i", "b", "d"].map((name) => {
      const ref = initializers.get(name);
      return ref && numbersOf(ref);
    });
    expect(values).toEqual([[1.5, -2], [-7, 7], [1, 0], [0.1]]);
  });

  test("a save is whole or not there", async () => {
    const path = join(folder, "saved.onnx");
    await modelOf(rich()).save(path);
    const model = await loadModel(path);
    expect(model.path).toBe(path);
    expect(model.graph.name).toBe("rich");
    expect(await readdir(folder)).toEqual(["saved.onnx"]);
    await expect(modelOf(rich()).save(join(folder, "no", "folder.onnx"))).rejects.toThrow(
      /cannot write/,
    );
  });
});

function findingsOf(bytes: Uint8Array): string[] {
  try {
    readModel(bytes);
    return [];
  } catch (error) {
    if (!(error instanceof SkipwayError)) throw error;
    expect(error.code).toBe("input");
    for (const one of error.diagnostics) expect(one.fix ?? "").not.toBe("");
    return error.diagnostics.map((one) => one.id);
  }
}

describe("files that are no sound model", () => {
  test.each([
    ["an empty file", ""],
    ["text", "hello, world\n"],
    ["JSON", '{"a": 1}'],
    ["a picture", "\x89PNG\r\n\x1a\n"],
    ["a Git LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:0"],
    ["an archive", "PK\x03\x04"],
  ])("%s is told apart", (_what, text) => {
    expect(findingsOf(Buffer.from(text, "latin1"))).toEqual(["onnx/not-onnx"]);
  });

  test("a file that is cut off", () => {
    const bytes = encodeModel(modelOf(rich()));
    expect(findingsOf(bytes.subarray(0, bytes.length - 20))).toEqual(["onnx/not-onnx"]);
  });

  test("all faults of a graph are told, not just the first", () => {
    const b = new GraphBuilder();
    b.input("x", "float32", [1]);
    b.append({
      name: "a",
      op: "Relu",
      domain: "",
      inputs: ["nowhere"],
      outputs: ["y"],
      attributes: new Map(),
    });
    b.append({
      name: "b",
      op: "Relu",
      domain: "",
      inputs: ["x"],
      outputs: ["y"],
      attributes: new Map(),
    });
    b.output({ name: "z", dtype: "float32", shape: [1] });
    const bytes = encodeModel(modelOf(b.finish("bad", new Map([["", 20]]))));
    expect(findingsOf(bytes)).toEqual([
      "graph/undefined-value",
      "graph/duplicate-value",
      "graph/undefined-value",
    ]);
  });

  test("nodes in the wrong order are brought into order, and written so", () => {
    const chain = `<opset_import: ["" : 20]> g (float[2] x) => (float[2] y) { a = Relu (x)  b = Neg (a)  y = Add (a, b) }`;
    const bytes = encodeModel(modelOf(parseGraph(chain)));
    const proto = fromBinary(ModelProtoSchema, bytes);
    proto.graph?.node.reverse();
    const names = (from: Uint8Array) => readModel(from).graph.nodes.map(({ name }) => name);
    const read = readModel(toBinary(ModelProtoSchema, proto));
    expect(read.graph.nodes.map(({ name }) => name)).toEqual(names(bytes));
    const again = fromBinary(ModelProtoSchema, encodeModel(read));
    expect(again.graph?.node.map(({ name }) => name)).toEqual(
      read.graph.nodes.map(({ name }) => name),
    );
    expect(graphDiagnostics(read.graph)).toEqual([]);
  });

  test("a tensor whose size and bytes disagree", () => {
    const proto = fromBinary(ModelProtoSchema, encodeModel(modelOf(rich())));
    proto.graph?.initializer.push(
      ...[
        create(TensorProtoSchema, {
          name: "bad",
          dataType: 1,
          dims: [1000n],
          rawData: bytesOf(Float32Array.of(1)),
        }),
        create(TensorProtoSchema, { name: "huge", dataType: 1, dims: [2n ** 40n, 2n ** 40n] }),
        create(TensorProtoSchema, { name: "odd", dataType: 99, dims: [1n] }),
      ].map(encoded),
    );
    expect(findingsOf(toBinary(ModelProtoSchema, proto))).toEqual([
      "onnx/tensor",
      "onnx/tensor",
      "onnx/tensor",
    ]);
  });

  test("bodies nested beyond the limit", () => {
    let inner = body();
    for (let i = 0; i < 28; i++) {
      const b = new GraphBuilder();
      b.emit("If", ["flag"], {
        name: `if${i}`,
        attributes: { then_branch: { kind: "graph", value: inner } },
        outputs: [`y${i}`],
      });
      b.output({ name: `y${i}`, dtype: "float32", shape: undefined });
      inner = b.finish(`level${i}`, new Map());
    }
    const graph = {
      ...inner,
      inputs: [{ name: "flag", dtype: "bool" as const, shape: [] }],
      opsets: new Map([["", 20]]),
    };
    expect(findingsOf(encodeModel(modelOf(graph)))).toContain("onnx/limit");
  });

  test("a missing file and a folder", async () => {
    await expect(loadModel(join(folder, "none.onnx"))).rejects.toThrow(/cannot be read|ENOENT/);
    await expect(loadModel(folder)).rejects.toThrow(/neither a file nor a pipe/);
    await expect(loadModel("/dev/zero")).rejects.toThrow(/neither a file nor a pipe/);
  });

  test("a file of another kind on disk names its path", async () => {
    const path = join(folder, "notes.onnx");
    await writeFile(path, "just text");
    await expect(loadModel(path)).rejects.toThrow(/notes\.onnx/);
    await rm(path);
  });

  test("5,000 damaged files: a finding or a model, never a crash", () => {
    const seed = 20260101;
    const random = new Random(seed);
    const small = sequential(conv(4, 3), relu(), residual(4), globalPool(), dense(3));
    const net = buildNet(small, {
      input: { name: "image", shape: [1, 8, 8] },
      output: "y",
      seed,
    });
    const files = [rich(), net].map((graph) => encodeModel(modelOf(graph)));
    const kinds = Object.entries(DAMAGES);
    for (let round = 0; round < 5000; round++) {
      const pick = (): Uint8Array => files[random.integer(files.length)] ?? new Uint8Array();
      const [kind, damage] = kinds[round % kinds.length] ?? ["", (bytes: Uint8Array) => bytes];
      const bytes = damage(pick(), random, pick());
      try {
        canonicalize(readModel(bytes).graph);
      } catch (error) {
        const told = error instanceof SkipwayError && error.code === "input";
        expect(told, `seed ${seed}, file ${round} (${kind}): ${messageOf(error)}`).toBe(true);
      }
    }
  }, 30_000);
});

test("fixture of the writer: the bytes of a small model do not change by accident", async () => {
  const b = new GraphBuilder();
  b.input("x", "float32", ["N", 2]);
  b.emit("Relu", ["x"], { name: "relu", outputs: ["y"] });
  b.output({ name: "y", dtype: "float32", shape: ["N", 2] });
  const path = join(folder, "golden.onnx");
  await modelOf(b.finish("g", new Map([["", 20]]))).save(path);
  expect((await readFile(path)).toString("hex")).toMatchInlineSnapshot(
    `"080a1207736b69707761793a430a120a01781201791a0472656c75220452656c751201675a140a0178120f0a0d080112090a0312014e0a02080262140a0179120f0a0d080112090a0312014e0a02080242040a001014"`,
  );
});

test("a weight that is new in a model of IR version 3 raises the version: there it would have to be an input", () => {
  const graph: Graph = new GraphBuilder().finish("old", new Map([["", 9]]));
  const old = modelOf(graph, { irVersion: 3 });
  expect(withGraph(old, { ...graph, name: "renamed" }).irVersion).toBe(3);
  const initializers = new Map([["w", float32([1], [1])]]);
  expect(withGraph(old, { ...graph, initializers }).irVersion).toBe(4);
});
