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
      "exportModel",
      "firstNonFinite",
      "float32",
      "float32Values",
      "inProcessRunner",
      "int64",
      "int64Values",
      "lint",
      "loadModel",
      "modelOf",
      "nn",
      "parseGraph",
      "printGraph",
      "train",
      "verify",
      "withExternalData",
      "withGradients",
    ]
  `);
  expect(Object.keys(front["nn"] ?? {}).sort()).toMatchInlineSnapshot(`
    [
      "adaptivePool",
      "add",
      "attention",
      "attentionGate",
      "attentionResiduals",
      "avgPool",
      "batchNorm",
      "bottleneck",
      "buildNet",
      "channelShuffle",
      "cifarResnet",
      "concat",
      "conditional",
      "conv",
      "conv1d",
      "convTranspose",
      "convnextBlock",
      "convnextTiny",
      "dense",
      "denseBlock",
      "densenet",
      "depthWeighted",
      "depthwise",
      "dropout",
      "efficientnetB0",
      "elu",
      "embedding",
      "flatten",
      "float",
      "gatedResidual",
      "gelu",
      "globalPool",
      "googlenet",
      "groupNorm",
      "hardSigmoid",
      "hardSwish",
      "highway",
      "highwayMlp",
      "hyperConnections",
      "identity",
      "inceptionV3",
      "instanceNorm",
      "int",
      "ints",
      "invertedResidual",
      "layer",
      "layerNorm",
      "layerScale",
      "leakyRelu",
      "linearDecay",
      "linknet",
      "maxPool",
      "mish",
      "mlp",
      "mobilenetV2",
      "multiTask",
      "named",
      "patches",
      "positions",
      "preActResnet",
      "prelu",
      "recurrentResidual",
      "relu",
      "relu6",
      "reshape",
      "residual",
      "residualDense",
      "resize",
      "resnet",
      "resnext50",
      "rmsNorm",
      "sequential",
      "sgd",
      "shuffleUnit",
      "shufflenetV2",
      "sigmoid",
      "silu",
      "skip",
      "softmax",
      "softplus",
      "split",
      "squeezeExcite",
      "squeezenet",
      "stochasticDepth",
      "string",
      "summary",
      "summaryText",
      "tanh",
      "tcn",
      "transformer",
      "transition",
      "transpose",
      "twoTowers",
      "unet",
      "unetLevel",
      "vgg",
      "wideResnet50",
    ]
  `);
});

test("the types of the front page", async () => {
  const text = await readFile("dist/index.d.ts", "utf8");
  const types = [...text.matchAll(/^export (type )?\{([^}]*)\}/gm)].flatMap(([, all, names = ""]) =>
    names
      .split(",")
      .map((name) => name.trim())
      .filter(Boolean)
      .filter((name) => all !== undefined || name.startsWith("type "))
      .map((name) => name.replace(/^type /, "")),
  );
  expect(types.sort()).toMatchInlineSnapshot(`
    [
      "Attribute",
      "Census",
      "Dataset",
      "Diagnostic",
      "ExportForm",
      "ExportOptions",
      "Gamma",
      "GradientOptions",
      "Graph",
      "GraphWithGradients",
      "Loss",
      "Model",
      "Node",
      "NonFinite",
      "ParseOptions",
      "PrintOptions",
      "ProjectionLayer",
      "Recurrence",
      "Runner",
      "SaveOptions",
      "Session",
      "Severity",
      "Skip",
      "SkipCounts",
      "SkipKind",
      "Tensor",
      "TensorRange",
      "Tensors",
      "TrainOptions",
      "TrainingRun",
      "Value",
      "ValueName",
    ]
  `);
});
