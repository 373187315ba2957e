import {
  appendFile,
  link,
  mkdir,
  mkdtemp,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { idsOf } from "../../test/contracts/runner.ts";
import { affineModel } from "../../test/models.ts";
import { GraphBuilder } from "../graph/build.ts";
import { float32 } from "../graph/tensor.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { digestOf } from "../registry/digest.ts";
import { childProcessRunner } from "./child-process.ts";
import { verified } from "./verified-model.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-verified-"));
});
afterEach(() => rm(folder, { recursive: true }));

/** y = x + w, with w in a file beside it. */
function weighted() {
  const b = new GraphBuilder();
  b.input("x", "float32", ["N", 3]);
  b.initializer("w", float32([3], [1, 2, 3]));
  b.emit("Add", ["x", "w"], { outputs: ["y"] });
  b.output({ name: "y", dtype: "float32", shape: ["N", 3] });
  return modelOf(b.finish("weighted", new Map([["", 20]])));
}

async function savedBeside(): Promise<string> {
  const path = join(folder, "m", "model.onnx");
  await mkdir(join(folder, "m"));
  await weighted().save(path, { externalData: { location: "w.data", bytesMin: 0 } });
  return path;
}

/** Times of files have the steps of the kernel's clock: up to 10 ms. */
function tick(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20));
}

const one = new Map([["x", float32([1, 3], [0, 0, 0])]]);

describe("a model's file, as its process loads it", () => {
  test("is the one of its digest", async () => {
    const path = join(folder, "model.onnx");
    const bytes = affineModel();
    await writeFile(path, bytes);
    const runner = childProcessRunner();
    await using session = await runner.load({ path }, { digest: digestOf(bytes) });
    expect((await session.run(one)).size).toBe(2);
    await appendFile(path, Buffer.from([0]));
    expect(await idsOf(runner.load({ path }, { digest: digestOf(bytes) }))).toEqual([
      "runtime/digest",
    ]);
    expect(await idsOf(runner.load({ bytes }, { digest: digestOf(Buffer.of(1)) }))).toEqual([
      "runtime/digest",
    ]);
  });

  test("has its data in its own folder", async () => {
    const path = await savedBeside();
    const runner = childProcessRunner();
    await using session = await runner.load({ path });
    expect((await session.run(one)).get("y")).toEqual(float32([1, 3], [1, 2, 3]));
    const data = join(folder, "m", "w.data");
    await rename(data, join(folder, "outside"));
    await symlink(join(folder, "outside"), data);
    expect(await idsOf(runner.load({ path }))).toEqual(["onnx/external-path"]);
    await rm(data);
    await link(join(folder, "outside"), data);
    expect(await idsOf(runner.load({ path }))).toEqual(["onnx/external-path"]);
    await rm(data);
    expect(await idsOf(runner.load({ path }))).toEqual(["runtime/refused"]);
  });

  test("has no data beside it where it is given as bytes", async () => {
    await savedBeside();
    const bytes = encodeModel(
      modelOf({
        ...weighted().graph,
        initializers: new Map([
          [
            "w",
            {
              dtype: "float32",
              shape: [3],
              data: { kind: "external", location: "w.data", offset: 0, length: 12 },
            },
          ],
        ]),
      }),
    );
    expect(await idsOf(childProcessRunner().load({ bytes }))).toEqual(["runtime/changed"]);
  });

  test("was not exchanged or written while it was loaded, nor was its data", async () => {
    const path = await savedBeside();
    const data = join(folder, "m", "w.data");
    const changes: readonly (() => Promise<unknown>)[] = [
      async () => undefined,
      () => appendFile(data, Buffer.from([0])),
      async () => writeFile(path, await readFile(path)),
      () => rename(path, `${path}.old`),
    ];
    for (const [i, change] of changes.entries()) {
      const seen = await verified({ path }, undefined);
      await tick();
      await change();
      if (i === 0) await seen.recheck();
      else expect(await idsOf(seen.recheck())).toEqual(["runtime/changed"]);
    }
    // Away and back: the name is the same again, the time of the change is not.
    await rename(`${path}.old`, path);
    const seen = await verified({ path }, undefined);
    await tick();
    await rename(path, `${path}.old`);
    await rename(`${path}.old`, path);
    expect(await idsOf(seen.recheck())).toEqual(["runtime/changed"]);
  });

  test("is found to name files wherever the key lies in its blocks", async () => {
    const path = await savedBeside();
    const { graph } = weighted();
    const block = 4_194_304;
    const save = async (letters: number): Promise<number> => {
      const named = modelOf({ ...graph, name: "n".repeat(letters) });
      await named.save(path, { externalData: { location: "w.data", bytesMin: 0 } });
      return (await readFile(path)).indexOf("location");
    };
    // Text before the weights moves the key across the border of what is read at once.
    const letters = block - 1000;
    const at = await save(letters);
    for (const before of [0, 1, 4, 7, 8, 9]) {
      expect(await save(letters + block - before - at)).toBe(block - before);
      const seen = await verified({ path }, undefined);
      await appendFile(join(folder, "m", "w.data"), Buffer.from([0]));
      expect(await idsOf(seen.recheck())).toEqual(["runtime/changed"]);
    }
  });
});
