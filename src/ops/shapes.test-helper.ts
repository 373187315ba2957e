// Rows of shape rules, each run by the real runtime. The rule must give the shape that came out, and with
// a symbolic first dim nothing that contradicts it.

import { expect } from "vitest";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import type { Attribute, ValueType } from "../graph/graph.ts";
import { isStatic, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import { float32, type Tensor } from "../graph/tensor.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { inProcessRunner } from "../runtime/in-process.ts";

type Input = readonly number[] | Tensor;

/** One node, its float inputs by shape and its constants. */
export interface Row {
  readonly op: string;
  readonly inputs: readonly Input[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
  readonly outputs?: number;
  /** Dims that only the data decides. */
  readonly unknown?: boolean;
  readonly domain?: string;
}

const OPSETS = new Map([
  ["", 20],
  ["com.microsoft", 1],
  ["ai.onnx.ml", 3],
]);

function isTensor(input: Input): input is Tensor {
  return !Array.isArray(input);
}

function build(row: Row, symbolic: boolean) {
  const builder = new TypedBuilder();
  const feeds = new Map<string, Tensor>();
  const names = row.inputs.map((input, i) => {
    if (isTensor(input)) return builder.constant(input, `c${i}`);
    const shape: Shape = symbolic && i === 0 ? ["N", ...input.slice(1)] : input;
    const count = input.reduce((a, b) => a * b, 1);
    feeds.set(
      `x${i}`,
      float32(
        input,
        Float32Array.from({ length: count }, (_, k) => 0.1 + k),
      ),
    );
    return builder.input(`x${i}`, "float32", shape);
  });
  const outputs = builder.emitAll(row.op, names, {
    ...(row.attributes && { attributes: row.attributes }),
    ...(row.domain && { domain: row.domain }),
    outputCount: row.outputs ?? 1,
  });
  const types = outputs.map((name) => builder.typeOf(name));
  outputs.forEach((name, i) => {
    builder.output({ name, dtype: types[i]?.dtype ?? "float32", shape: undefined });
  });
  return { graph: builder.finish("case", OPSETS), feeds, outputs, types };
}

/** Checks a row; vacuous only where the row says that the data decides. */
export async function agrees(row: Row): Promise<void> {
  const fixed = build(row, false);
  await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(fixed.graph)) });
  const found = await session.run(fixed.feeds);
  const symbols = build(row, true).types;
  for (const [i, name] of fixed.outputs.entries()) {
    const truth = found.get(name) as Tensor;
    const rule = fixed.types[i];
    expect(rule?.dtype).toBe(truth.dtype);
    if (row.unknown === true) {
      fits(rule, truth.shape);
    } else {
      expect(isStatic(rule?.shape)).toBe(true);
      expect(rule?.shape).toEqual(truth.shape);
    }
    const symbolic = symbols[i]?.shape;
    if (symbolic === undefined) continue;
    expect(symbolic.length).toBe(truth.shape.length);
    for (const [axis, dim] of symbolic.entries()) {
      if (typeof dim === "number") expect(dim).toBe(truth.shape[axis]);
    }
  }
}

/** A type that says nothing against a shape. */
export function fits(type: ValueType | undefined, truth: readonly number[]): void {
  if (type?.shape === undefined) return;
  expect(type.shape.length).toBe(truth.length);
  for (const [axis, dim] of type.shape.entries()) {
    if (typeof dim === "number") expect(dim).toBe(truth[axis]);
    else expect(dim).toBe(UNKNOWN_DIM);
  }
}
