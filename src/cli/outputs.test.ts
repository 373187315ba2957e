import { link, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseGraph } from "../graph/parse.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { loadModel } from "../onnx/read.ts";
import { refuseOverModel } from "./outputs.ts";

let folder: string;
const at = (name: string): string => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-outputs-"));
  const graph = parseGraph(`<ir_version: 10, opset_import: ["" : 20]>
    g (float[N,2] x) => (float[N,2] y) <float[2,2] w = {1,2,3,4}> { y = MatMul (x, w) }`);
  await modelOf(graph).save(at("m.onnx"), { externalData: { location: "m.data", bytesMin: 1 } });
  await symlink(at("m.onnx"), at("symbolic"));
  await link(at("m.onnx"), at("hard"));
  await writeFile(at("other.onnx"), "");
});
afterAll(() => rm(folder, { recursive: true }));

test.each(["m.onnx", "./m.onnx", "symbolic", "hard", "m.data"])(
  "%s is the model itself",
  async (name) => {
    const model = await loadModel(at("m.onnx"));
    await expect(refuseOverModel("--fix", `${folder}/${name}`, model)).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(/^--fix does not write over the model: /),
    });
  },
);

test.each(["other.onnx", "new.onnx"])("%s is not", async (name) => {
  await refuseOverModel("--fix", at(name), await loadModel(at("m.onnx")));
  await refuseOverModel(
    "--fix",
    at("m.onnx"),
    await loadModel(at("symbolic")).then((model) => modelOf(model.graph)),
  );
});
