// The same network in the forms in which networks come: as built, with its layers as functions, with
// quantized operands, and as the runtime itself would rewrite it. For users who hand a model on, and for
// tests, in which all forms must mean the same.

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { batchSymbol } from "../analysis/memory.ts";
import { inferShapes } from "../canonical/infer-shapes.ts";
import type { Graph, Value, ValueName } from "../graph/graph.ts";
import { typeOf } from "../graph/query.ts";
import { float32Values } from "../graph/tensor.ts";
import type { Model } from "../onnx/model.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { readModel } from "../onnx/read.ts";
import { encodeModel } from "../onnx/write.ts";
import { withFunctions } from "../passes/functions.ts";
import {
  planQuantization,
  type QuantizeOptions,
  type Range,
  withQuantizePairs,
} from "../passes/quantize-pairs.ts";
import { inProcessRunner } from "./in-process.ts";
import type { Tensors } from "./runner.ts";

/** How a network is written down. */
export type ExportForm =
  /** As it was built. */
  | { readonly form: "plain" }
  /** Each layer a function of the model. */
  | { readonly form: "functions" }
  /** Operands rounded to 8 bits, by pairs of QuantizeLinear and DequantizeLinear. */
  | ({
      readonly form: "quantized";
      /** One batch of inputs, from which the ranges of activations are taken. */
      readonly sample: Tensors;
    } & QuantizeOptions)
  /** With the fused ops of ONNX Runtime, which no other runtime has. */
  | { readonly form: "optimized" };

/** How a network is exported. */
export type ExportOptions = ExportForm & {
  /** A fixed size of the batch. Default: it stays a symbol. */
  readonly batch?: number;
};

/**
 * A model of the network, as it was built unless asked for another form. Its weights are in memory; `save`
 * puts them beside the file if asked to.
 *
 * @throws SkipwayError `input` when the runtime refuses the network or the sample.
 * @example
 * await (await exportModel(graph)).save("model.onnx");
 * @example
 * const model = await exportModel(graph, { form: "quantized", sample: new Map([["image", images]]) });
 * await model.save("model.onnx", { externalData: true });
 */
export async function exportModel(
  graph: Graph,
  options: ExportOptions = { form: "plain" },
): Promise<Model> {
  const bound = options.batch === undefined ? graph : withBatch(graph, options.batch);
  switch (options.form) {
    case "plain":
      return modelOf(bound);
    case "functions":
      return modelOf(withFunctions(bound));
    case "quantized": {
      const plan = planQuantization(bound);
      const ranges = await rangesOf(plan.graph, plan.groups.flat(), options.sample);
      return modelOf(withQuantizePairs(plan, ranges, options));
    }
    case "optimized":
      return optimized(modelOf(bound));
  }
}

function withBatch(graph: Graph, batch: number): Graph {
  const symbol = batchSymbol(graph);
  return symbol === undefined ? graph : inferShapes(graph, new Map([[symbol, batch]]));
}

/** The range of each of these values on one batch. */
async function rangesOf(
  graph: Graph,
  names: readonly ValueName[],
  sample: Tensors,
): Promise<Map<ValueName, Range>> {
  const present = new Set([...graph.inputs, ...graph.outputs].map(({ name }) => name));
  const watched = names
    .filter((name) => !present.has(name))
    .map((name): Value => ({ name, dtype: "float32", shape: typeOf(graph, name)?.shape }));
  const watching = { ...graph, outputs: [...graph.outputs, ...watched] };
  await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(watching)) });
  const found = await session.run(sample);
  return new Map(
    names.flatMap((name) => {
      const value = found.get(name) ?? sample.get(name);
      return value === undefined ? [] : [[name, rangeOf(float32Values(value))] as const];
    }),
  );
}

function rangeOf(values: Float32Array): Range {
  let [min, max] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of values) {
    // Not by Math.min, which a NaN would poison in silence only at the end.
    if (!Number.isFinite(value)) return { min: Number.NaN, max: Number.NaN };
    if (value < min) min = value;
    if (value > max) max = value;
  }
  return { min, max };
}

/** The model as the runtime rewrites it for itself, without what only fits the processor of this machine. */
async function optimized(model: Model): Promise<Model> {
  const folder = await mkdtemp(join(tmpdir(), "skipway-export-"));
  const path = join(folder, "optimized.onnx");
  try {
    const source = { bytes: encodeModel(model) };
    const session = await inProcessRunner().load(source, { saveOptimized: path });
    await session.close();
    return readModel(await readFile(path));
  } finally {
    await rm(folder, { recursive: true });
  }
}
