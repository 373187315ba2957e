// The files shapes.json that lie beside fixtures: what the ONNX package infers for them.

import { existsSync, readFileSync } from "node:fs";
import { type Shape, UNKNOWN_DIM } from "../src/graph/shape.ts";

/** What is true of one value: what it must be, and what onnx infers. */
export interface ValueTruth {
  readonly must: Shape | undefined;
  readonly inferred: Shape | undefined;
}

/** What is true of one model. */
export interface Truth {
  readonly values: ReadonlyMap<string, ValueTruth>;
  /** Whether the truth was found with the declared shapes of the outputs hidden. */
  readonly hidden: boolean;
}

/** Truths by model name; empty where there is no file. */
export function truthOf(path: string): ReadonlyMap<string, Truth> {
  if (!existsSync(path)) return new Map();
  const file = recordOf(JSON.parse(readFileSync(path, "utf8")));
  return new Map([...file].map(([name, entry]) => [name, modelTruth(recordOf(entry))]));
}

function modelTruth(entry: ReadonlyMap<string, unknown>): Truth {
  const declared = entry.get("declared");
  if (declared === undefined) {
    const values = [...entry].map(([name, value]): [string, ValueTruth] => {
      const shape = shapeOf(value);
      return [name, { must: shape, inferred: shape }];
    });
    return { values: new Map(values), hidden: false };
  }
  const inferred = recordOf(entry.get("onnx"));
  const values = [...recordOf(declared)].map(([name, value]): [string, ValueTruth] => [
    name,
    { must: shapeOf(value), inferred: shapeOf(inferred.get(name)) },
  ]);
  return { values: new Map(values), hidden: true };
}

/** `unk__N` is onnx's way to say that a size is not known. */
function shapeOf(value: unknown): Shape | undefined {
  const shape = recordOf(value).get("shape");
  if (!Array.isArray(shape)) return undefined;
  return shape.map((dim: unknown) => (typeof dim === "number" ? dim : UNKNOWN_DIM));
}

function recordOf(value: unknown): ReadonlyMap<string, unknown> {
  return new Map(Object.entries(value ?? {}));
}
