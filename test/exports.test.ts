import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";

// What the package offers from outside. A change here is a change for users: look at the diff.

test("the package's entry points exist, with their types", async () => {
  const { exports } = JSON.parse(await readFile("package.json", "utf8")) as {
    exports: Record<string, string | Record<string, string>>;
  };
  for (const entry of Object.values(exports)) {
    for (const path of typeof entry === "string" ? [entry] : Object.values(entry)) {
      expect((await readFile(path)).length).toBeGreaterThan(0);
    }
  }
});

test("the names of the front page", async () => {
  const front: Record<string, unknown> = await import("skipway");
  expect(Object.keys(front).sort()).toMatchInlineSnapshot(`
    [
      "SkipwayError",
      "census",
      "datasets",
      "loadModel",
      "nn",
      "parseGraph",
      "printGraph",
      "train",
      "withExternalData",
    ]
  `);
  expect(Object.keys(front["nn"] ?? {}).sort()).toMatchInlineSnapshot(`
    [
      "adaptivePool",
      "add",
      "avgPool",
      "batchNorm",
      "buildNet",
      "concat",
      "conv",
      "conv1d",
      "convTranspose",
      "dense",
      "depthwise",
      "dropout",
      "elu",
      "embedding",
      "flatten",
      "gelu",
      "globalPool",
      "groupNorm",
      "hardSigmoid",
      "hardSwish",
      "identity",
      "instanceNorm",
      "layer",
      "layerNorm",
      "leakyRelu",
      "maxPool",
      "mish",
      "named",
      "prelu",
      "relu",
      "relu6",
      "reshape",
      "residual",
      "resize",
      "rmsNorm",
      "sequential",
      "sgd",
      "sigmoid",
      "silu",
      "softmax",
      "softplus",
      "split",
      "summary",
      "summaryText",
      "tanh",
      "transpose",
    ]
  `);
});

test("the types of the front page", async () => {
  const text = await readFile("dist/index.d.ts", "utf8");
  const types = [...text.matchAll(/^export (type )?\{([^}]*)\}/gm)].flatMap(([, all, names = ""]) =>
    names
      .split(",")
      .map((name) => name.trim())
      .filter((name) => all !== undefined || name.startsWith("type "))
      .map((name) => name.replace(/^type /, "")),
  );
  expect(types.sort()).toMatchInlineSnapshot(`
    [
      "Census",
      "Dataset",
      "Diagnostic",
      "Graph",
      "Model",
      "Node",
      "ParseOptions",
      "PrintOptions",
      "SaveOptions",
      "Skip",
      "SkipCounts",
      "SkipKind",
      "TrainOptions",
      "TrainingRun",
      "Value",
    ]
  `);
});
