import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { SkipwayError } from "../base/errors.ts";
import { GraphBuilder } from "../graph/build.ts";
import type { Graph } from "../graph/graph.ts";
import { float32, hasBytes } from "../graph/tensor.ts";
import { modelOf, withExternalData } from "./onnx-model.ts";
import { loadModel } from "./read.ts";

// Where the files of a model may lie and go: folders, links, other saves at the same time.

const root = mkdtempSync(join(tmpdir(), "skipway-external-places-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folder = "";
let count = 0;
beforeEach(() => {
  folder = join(root, String(count++));
  mkdirSync(folder);
});

/** A large weight and a small one, in one order or the other. */
function network(order: readonly string[] = ["large", "small"]): Graph {
  const b = new GraphBuilder();
  b.input("x", "float32", [600]);
  for (const name of order) {
    const length = name === "large" ? 600 : 1;
    b.initializer(
      name,
      float32(
        [length],
        Float32Array.from({ length }, (_, i) => i / 3 + 1),
      ),
    );
  }
  b.emit("Mul", ["x", "large"], { outputs: ["m"] });
  b.emit("Add", ["m", "small"], { outputs: ["y"] });
  b.output({ name: "y", dtype: "float32", shape: [600] });
  return b.finish("network", new Map([["", 20]]));
}

function weightsOf(graph: Graph): string[] {
  return [...graph.initializers]
    .map(([name, ref]) => `${name} ${hasBytes(ref) ? ref.data.bytes.join() : ref.data.kind}`)
    .sort();
}

async function findings(what: Promise<unknown>): Promise<string[]> {
  const error: unknown = await what.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error === undefined) return [];
  if (!(error instanceof SkipwayError)) throw error;
  return error.diagnostics.map((one) => one.id);
}

describe("weights beside the model", () => {
  test("small ones are taken along too", async () => {
    await modelOf(network()).save(join(folder, "m.onnx"), { externalData: { bytesMin: 0 } });
    const read = await loadModel(join(folder, "m.onnx"));
    const other = join(folder, "other");
    mkdirSync(other);
    await read.save(join(other, "m.onnx"), { externalData: true });
    const again = await withExternalData(await loadModel(join(other, "m.onnx")));
    expect(weightsOf(again.graph)).toEqual(weightsOf(network()));
  });

  test("lie in a folder inside, but not in the model itself", async () => {
    const path = join(folder, "m.onnx");
    const model = modelOf(network());
    for (const location of ["m.onnx", "./m.onnx"]) {
      const saved = model.save(path, { externalData: { location } });
      expect(await findings(saved)).toEqual(["onnx/external-path"]);
    }
    expect(readdirSync(folder)).toEqual([]);
    await model.save(path, { externalData: { location: "a/b/w.bin" } });
    const again = await withExternalData(await loadModel(path));
    expect(weightsOf(again.graph)).toEqual(weightsOf(network()));
    const nowhere = join(folder, "no", "m.onnx");
    const saved = model.save(nowhere, { externalData: { location: "a/w.bin" } });
    expect(await findings(saved)).toEqual(["onnx/unwritable"]);
  });

  test("nothing takes the place of a device", async () => {
    const path = join(folder, "null");
    symlinkSync("/dev/null", path);
    expect(await findings(modelOf(network()).save(path))).toEqual(["onnx/unwritable"]);
    expect(readlinkSync(path)).toBe("/dev/null");
    expect(readdirSync(folder)).toEqual(["null"]);
  });

  test("two saves at a time do not take each other's files", async () => {
    const path = join(folder, "m.onnx");
    const models = [modelOf(network()), modelOf(network(["small", "large"])), modelOf(network())];
    await Promise.all(models.map((one) => one.save(path, { externalData: { bytesMin: 0 } })));
    const again = await withExternalData(await loadModel(path));
    expect(weightsOf(again.graph)).toEqual(weightsOf(network()));
    await Promise.all(models.map((model) => model.save(join(folder, "one.onnx"))));
    expect(readdirSync(folder).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  test("of more files than a process may have open", async () => {
    const path = join(folder, "m.onnx");
    const b = new GraphBuilder();
    b.input("x", "float32", [1]);
    for (let i = 0; i < 1500; i++) {
      writeFileSync(join(folder, `w${i}`), new Uint8Array(Float32Array.of(i).buffer));
      const data = { kind: "external", location: `w${i}`, offset: 0, length: 4 } as const;
      b.initializer(`w${i}`, { dtype: "float32", shape: [1], data });
    }
    b.output({ name: "x", dtype: "float32", shape: [1] });
    await modelOf(b.finish("many", new Map([["", 20]]))).save(path);
    const open = (): number => readdirSync("/dev/fd").length;
    const before = open();
    const read = withExternalData(await loadModel(path));
    let most = 0;
    const watch = setInterval(() => {
      most = Math.max(most, open());
    }, 1);
    const { graph } = await read.finally(() => clearInterval(watch));
    expect(most).toBeLessThan(before + 100);
    expect([...graph.initializers.values()].every(hasBytes)).toBe(true);
  });

  // The cache of Hugging Face: both are links into a folder where files are called by their content.
  test("as links to where the model itself is a link to, and nowhere else", async () => {
    const [blobs, snapshot] = [join(folder, "blobs"), join(folder, "snapshot")];
    mkdirSync(blobs);
    mkdirSync(snapshot);
    const path = join(snapshot, "m.onnx");
    await modelOf(network()).save(join(blobs, "m.onnx"), { externalData: true });
    renameSync(join(blobs, "m.onnx"), join(blobs, "1f"));
    renameSync(join(blobs, "m.onnx.data"), join(blobs, "2e"));
    symlinkSync("../blobs/1f", path);
    symlinkSync("../blobs/2e", `${path}.data`);
    const read = await loadModel(path);
    const whole = await withExternalData(read);
    expect(weightsOf(whole.graph)).toEqual(weightsOf(network()));
    // A file that is no link has no such place: its weights come into it.
    await read.save(join(snapshot, "copy.onnx"));
    const copy = await loadModel(join(snapshot, "copy.onnx"));
    expect(weightsOf(copy.graph)).toEqual(weightsOf(network()));
    rmSync(`${path}.data`);
    writeFileSync(join(folder, "3d"), new Uint8Array(10_000));
    symlinkSync("../3d", `${path}.data`);
    expect(await findings(loadModel(path))).toEqual(["onnx/external-path"]);
  });
});
