import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { SkipwayError } from "../base/errors.ts";
import { GraphBuilder } from "../graph/build.ts";
import type { Graph } from "../graph/graph.ts";
import { tensorsOf } from "../graph/map-tensors.ts";
import { float32, hasBytes, type TensorRef } from "../graph/tensor.ts";
import { locationFault } from "./external-entries.ts";
import type { Model } from "./model.ts";
import { modelOf, withExternalData, withGraph } from "./onnx-model.ts";
import {
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  FunctionProtoSchema,
  GraphProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  NodeProtoSchema,
  SparseTensorProtoSchema,
  StringStringEntryProtoSchema,
  TensorProto_DataLocation,
  TensorProtoSchema,
  TrainingInfoProtoSchema,
} from "./proto/onnx_pb.js";
import { loadModel, readModel } from "./read.ts";
import { encodeModel } from "./write.ts";

const root = mkdtempSync(join(tmpdir(), "skipway-external-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let folder = "";
let count = 0;
beforeEach(() => {
  folder = join(root, String(count++));
  mkdirSync(folder);
});

const WEIGHTS = Float32Array.from({ length: 600 }, (_, i) => i / 3);

/** Two weights of 2,400 bytes, one of them in a Constant inside a branch, and a small one. */
function network(): Graph {
  const branch = new GraphBuilder();
  branch.emit("Constant", [], {
    attributes: { value: { kind: "tensor", value: float32([600], WEIGHTS.toReversed()) } },
    outputs: ["c"],
  });
  branch.output({ name: "c", dtype: "float32", shape: [600] });
  const body = branch.finish("branch", new Map([["", 20]]));
  const b = new GraphBuilder();
  b.input("flag", "bool", []);
  b.initializer("w", float32([600], WEIGHTS));
  b.initializer("small", float32([1], [2]));
  b.emit("If", ["flag"], {
    attributes: {
      then_branch: { kind: "graph", value: body },
      else_branch: { kind: "graph", value: body },
    },
    outputs: ["taken"],
  });
  b.emit("Mul", ["taken", "w"], { outputs: ["product"] });
  b.emit("Mul", ["product", "small"], { outputs: ["y"] });
  b.output({ name: "y", dtype: "float32", shape: [600] });
  return b.finish("network", new Map([["", 20]]));
}

function digest(refs: readonly TensorRef[]): string[] {
  return refs.map((ref) =>
    hasBytes(ref) ? createHash("sha256").update(ref.data.bytes).digest("hex") : ref.data.kind,
  );
}

async function findings(what: Promise<unknown>): Promise<string[]> {
  const error: unknown = await what.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error === undefined) return [];
  if (!(error instanceof SkipwayError)) throw error;
  for (const one of error.diagnostics) expect(one.fix ?? "").not.toBe("");
  return error.diagnostics.map((one) => one.id);
}

describe("weights beside the model", () => {
  test("are written, named, aligned, and read back the same", async () => {
    const path = join(folder, "m.onnx");
    const built = modelOf(network());
    await built.save(path, { externalData: true });
    expect(readdirSync(folder).sort()).toEqual(["m.onnx", "m.onnx.data"]);
    const read = await loadModel(path);
    const kinds = tensorsOf(read.graph).map(({ data }) => data.kind);
    expect(kinds.sort()).toEqual(["bytes", "external", "external", "external"]);
    for (const { data } of tensorsOf(read.graph)) {
      if (data.kind === "external") expect(data.offset % 16).toBe(0);
    }
    const whole = await withExternalData(read);
    expect(digest(tensorsOf(whole.graph))).toEqual(digest(tensorsOf(built.graph)));
    expect(await withExternalData(whole)).toBe(whole);
    // The same constant in both branches lies in the file once.
    expect(statSync(`${path}.data`).size).toBe(2 * 2400);
  });

  test("come into the file again, and stay where they are for a copy beside it", async () => {
    const path = join(folder, "m.onnx");
    await modelOf(network()).save(path, { externalData: true });
    const read = await loadModel(path);
    await read.save(join(folder, "copy.onnx"));
    expect(readFileSync(join(folder, "copy.onnx"))).toEqual(readFileSync(path));
    await (await withExternalData(read)).save(join(folder, "whole.onnx"));
    await read.save(join(folder, "one.onnx"), { externalData: false });
    for (const name of ["whole.onnx", "one.onnx"]) {
      const whole = await loadModel(join(folder, name));
      expect(digest(tensorsOf(whole.graph))).toEqual(digest(tensorsOf(network())));
    }
  });

  test("are taken along to another folder", async () => {
    await modelOf(network()).save(join(folder, "m.onnx"), { externalData: true });
    const read = await loadModel(join(folder, "m.onnx"));
    const other = join(folder, "other");
    mkdirSync(other);
    await read.save(join(other, "one.onnx"));
    await read.save(join(other, "two.onnx"), { externalData: { location: "w.bin", bytesMin: 0 } });
    expect(readdirSync(other).sort()).toEqual(["one.onnx", "two.onnx", "w.bin"]);
    rmSync(join(folder, "m.onnx.data"));
    for (const name of ["one.onnx", "two.onnx"]) {
      const again = await withExternalData(await loadModel(join(other, name)));
      expect(digest(tensorsOf(again.graph))).toEqual(digest(tensorsOf(network())));
    }
  });

  test("a model that is replaced keeps its weights until the new one is in place", async () => {
    const path = join(folder, "m.onnx");
    await modelOf(network()).save(path, { externalData: true });
    const first = await loadModel(path);
    await first.save(path, { externalData: true });
    expect(readdirSync(folder).sort()).toEqual(["m.onnx", "m.onnx.1.data", "m.onnx.data"]);
    expect(digest(tensorsOf((await withExternalData(first)).graph))).toEqual(
      digest(tensorsOf(network())),
    );
  });

  test("what a file says of a weight besides stays with it", async () => {
    const file = fromBinary(ModelProtoSchema, encodeModel(modelOf(network())));
    const messages = file.graph?.initializer ?? [];
    const [first = new Uint8Array()] = messages;
    const tensor = fromBinary(TensorProtoSchema, first);
    tensor.docString = "learned";
    messages[0] = toBinary(TensorProtoSchema, tensor);
    const path = join(folder, "m.onnx");
    await readModel(toBinary(ModelProtoSchema, file)).save(path, { externalData: true });
    const written = fromBinary(ModelProtoSchema, readFileSync(path)).graph?.initializer[0];
    const moved = fromBinary(TensorProtoSchema, written ?? new Uint8Array());
    expect(moved.docString).toBe("learned");
    expect(moved.externalData.map(({ key }) => key)).toEqual(["location", "offset", "length"]);
    expect(moved.rawData).toHaveLength(0);
  });

  test("the file may be missing as long as nobody reads it", async () => {
    const path = join(folder, "m.onnx");
    await modelOf(network()).save(path, { externalData: true });
    rmSync(`${path}.data`);
    const read = await loadModel(path);
    expect(await findings(withExternalData(read))).toEqual(["onnx/external-missing"]);
    expect(await findings(read.save(join(root, "elsewhere.onnx")))).toEqual([
      "onnx/external-missing",
    ]);
  });

  test("a model read from bytes has no folder to look in", async () => {
    const path = join(folder, "m.onnx");
    await modelOf(network()).save(path, { externalData: true });
    const read = readModel(readFileSync(path));
    expect(await findings(withExternalData(read))).toEqual(["onnx/external-missing"]);
  });

  test("a disk that refuses leaves nothing half done", async () => {
    const read = modelOf(network());
    expect(await findings(read.save(join(folder, "no", "m.onnx"), { externalData: true }))).toEqual(
      ["onnx/unwritable"],
    );
    const outside = { externalData: { location: "../w.bin" } };
    expect(await findings(read.save(join(folder, "m.onnx"), outside))).toEqual([
      "onnx/external-path",
    ]);
    expect(readdirSync(folder)).toEqual([]);
  });
});

/** A model whose weight `w` of 2,400 bytes lies at a place. */
async function pointing(entries: Record<string, string>): Promise<Model> {
  const path = join(folder, "m.onnx");
  writeFileSync(
    path,
    fileWith((file) => file.graph?.initializer.push(external(entries))),
  );
  return loadModel(path);
}

function external(entries: Record<string, string>, fields: object = {}): Uint8Array {
  const tensor = create(TensorProtoSchema, {
    name: "e",
    dataType: 1,
    dims: [600n],
    dataLocation: TensorProto_DataLocation.EXTERNAL,
    externalData: Object.entries(entries).map(([key, value]) =>
      create(StringStringEntryProtoSchema, { key, value }),
    ),
    ...fields,
  });
  return toBinary(TensorProtoSchema, tensor);
}

function fileWith(change: (file: ModelProto) => void): Uint8Array {
  const file = fromBinary(ModelProtoSchema, encodeModel(modelOf(network())));
  change(file);
  return toBinary(ModelProtoSchema, file);
}

describe("paths that a file may not name", () => {
  test.each([
    "",
    "/etc/passwd",
    "../secret",
    "a/../../secret",
    "a\\..\\..\\secret",
    "C:\\Windows\\win.ini",
    "C:secret",
    "\\\\server\\share",
    "w\0.bin",
    "folder/",
    ".",
    "*/_ORT_MEM_ADDR_/*",
  ])("%j", async (location) => {
    expect(await findings(pointing({ location }))).toEqual(["onnx/tensor"]);
  });

  test.each(["w.bin", "./w.bin", "a/b/w.bin", "..w", "w..bin", "gewichte ä.bin"])(
    "but %j is one",
    (location) => {
      expect(locationFault(location)).toBeUndefined();
    },
  );

  const PLAIN = toBinary(TensorProtoSchema, create(TensorProtoSchema, { name: "p" }));
  const bad = { location: "../secret" };
  const sparse = () => create(SparseTensorProtoSchema, { values: [external(bad)], dims: [600n] });
  const constant = () =>
    create(NodeProtoSchema, {
      opType: "Constant",
      output: ["made"],
      attribute: [
        create(AttributeProtoSchema, {
          name: "value",
          type: AttributeProto_AttributeType.TENSOR,
          t: [external(bad)],
        }),
      ],
    });
  const graph = () => create(GraphProtoSchema, { node: [constant()] });
  const holding = (name: string, fields: object) =>
    create(NodeProtoSchema, {
      opType: "Custom",
      domain: "custom",
      output: ["made"],
      attribute: [create(AttributeProtoSchema, { name, ...fields })],
    });

  test.each<[string, (file: ModelProto) => void]>([
    ["a weight", (f) => f.graph?.initializer.push(external(bad))],
    ["a sparse weight", (f) => f.graph?.sparseInitializer.push(sparse())],
    ["an attribute", (f) => f.graph?.node.push(constant())],
    [
      "a list in an attribute",
      (f) =>
        f.graph?.node.push(
          holding("list", { type: AttributeProto_AttributeType.TENSORS, tensors: [external(bad)] }),
        ),
    ],
    [
      "a sparse attribute",
      (f) =>
        f.graph?.node.push(
          holding("s", {
            type: AttributeProto_AttributeType.SPARSE_TENSOR,
            sparseTensor: sparse(),
          }),
        ),
    ],
    [
      "an attribute that says it is a number",
      (f) =>
        f.graph?.node.push(
          holding("n", { type: AttributeProto_AttributeType.INT, t: [external(bad)] }),
        ),
    ],
    [
      "an attribute in two parts, which decoders merge",
      (f) =>
        f.graph?.node.push(
          holding("m", { type: AttributeProto_AttributeType.TENSOR, t: [external(bad), PLAIN] }),
        ),
    ],
    [
      "a sparse weight in two parts",
      (f) =>
        f.graph?.sparseInitializer.push(
          create(SparseTensorProtoSchema, { values: [external(bad), PLAIN], dims: [600n] }),
        ),
    ],
    [
      "a list with a type that nobody knows",
      (f) =>
        f.graph?.node.push(
          holding("u", {
            type: AttributeProto_AttributeType.TENSORS,
            tensors: [external(bad, { dataType: 99 }), external(bad, { dims: [-1n] })],
          }),
        ),
    ],
    [
      "a body",
      (f) =>
        f.graph?.node.push(holding("g", { type: AttributeProto_AttributeType.GRAPH, g: graph() })),
    ],
    [
      "a function",
      (f) => f.functions.push(create(FunctionProtoSchema, { name: "F", node: [constant()] })),
    ],
    [
      "a training graph",
      (f) => f.trainingInfo.push(create(TrainingInfoProtoSchema, { algorithm: graph() })),
    ],
  ])("in %s", async (_where, change) => {
    writeFileSync(join(folder, "m.onnx"), fileWith(change));
    expect(await findings(loadModel(join(folder, "m.onnx")))).toContain("onnx/tensor");
  });
});

test("strings are never in another file", async () => {
  const path = join(folder, "m.onnx");
  const bytes = fileWith((file) =>
    file.graph?.initializer.push(external({ location: "w.bin" }, { dataType: 8 })),
  );
  writeFileSync(path, bytes);
  expect(await findings(loadModel(path))).toEqual(["onnx/tensor"]);
});

describe("files that are not what they should be", () => {
  const weights = (bytes = 2400): void =>
    writeFileSync(join(folder, "w.bin"), new Uint8Array(bytes));

  test("the right one is read", async () => {
    weights();
    const whole = await withExternalData(await pointing({ location: "./w.bin" }));
    expect(whole.graph.initializers.get("e")?.data.kind).toBe("bytes");
  });

  test("a symbolic link that stays inside is followed, one that leads out is not", async () => {
    weights();
    symlinkSync("w.bin", join(folder, "inside.bin"));
    expect(await findings(pointing({ location: "inside.bin" }))).toEqual([]);
    writeFileSync(join(root, "secret.bin"), new Uint8Array(2400));
    symlinkSync(join(root, "secret.bin"), join(folder, "outside.bin"));
    expect(await findings(pointing({ location: "outside.bin" }))).toEqual(["onnx/external-path"]);
    symlinkSync(root, join(folder, "up"));
    expect(await findings(pointing({ location: "up/secret.bin" }))).toEqual(["onnx/external-path"]);
  });

  test("a hard link, a folder, a device and a pipe are refused, without waiting", async () => {
    writeFileSync(join(root, "other.bin"), new Uint8Array(2400));
    linkSync(join(root, "other.bin"), join(folder, "hard.bin"));
    mkdirSync(join(folder, "dir"));
    execFileSync("mkfifo", [join(folder, "pipe")]);
    symlinkSync("/dev/zero", join(folder, "zero"));
    for (const location of ["hard.bin", "dir", "pipe", "zero"]) {
      expect(await findings(pointing({ location }))).toEqual(["onnx/external-path"]);
    }
  });

  test("places beyond the end of the file, or of another length than the tensor", async () => {
    weights();
    expect(await findings(pointing({ location: "w.bin", offset: "1" }))).toEqual([
      "onnx/external-size",
    ]);
    for (const entries of [
      { offset: "-1" },
      { offset: "1e3" },
      { offset: "" },
      { offset: "99999999999999999" },
      { length: "2399" },
      { length: "0x960" },
    ]) {
      const place = { location: "w.bin", ...entries };
      expect(await findings(pointing(place))).toEqual(["onnx/tensor"]);
    }
  });

  test("a file that has shrunk since", async () => {
    weights();
    const model = await pointing({ location: "w.bin" });
    truncateSync(join(folder, "w.bin"), 100);
    expect(await findings(withExternalData(model))).toEqual(["onnx/external-size"]);
    expect(await findings(model.save(join(root, "shrunk.onnx")))).toEqual(["onnx/external-size"]);
  });

  test("all of them are told at once", async () => {
    weights(10);
    const path = join(folder, "m.onnx");
    const bytes = fileWith((file) => {
      for (const location of ["w.bin", "../a", "/b"]) {
        file.graph?.initializer.push(external({ location }));
      }
    });
    writeFileSync(path, bytes);
    expect((await findings(loadModel(path))).length).toBeGreaterThan(2);
  });

  test("sparse data and functions do not move with a model", async () => {
    weights();
    const path = join(folder, "m.onnx");
    const place = { location: "w.bin" };
    const values = create(SparseTensorProtoSchema, { values: [external(place)], dims: [9n] });
    writeFileSync(
      path,
      fileWith((file) => file.graph?.sparseInitializer.push(values)),
    );
    const model = await loadModel(path);
    expect(await findings(model.save(join(folder, "beside.onnx")))).toEqual([]);
    expect(await findings(model.save(join(root, "away.onnx")))).toEqual(["onnx/external-data"]);
    const changed = withGraph(model, { ...model.graph, name: "renamed" });
    expect(await findings(changed.save(join(root, "away.onnx")))).toEqual(["onnx/external-data"]);
  });
});
