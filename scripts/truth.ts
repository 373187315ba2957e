// The files shapes.json that lie beside fixtures: what the ONNX package infers for them.

import { existsSync, readFileSync } from "node:fs";
import type { DType } from "../src/graph/dtype.ts";
import { type Shape, UNKNOWN_DIM } from "../src/graph/shape.ts";
import { CODE_OF } from "../src/onnx/dtype-codes.ts";

/** What is said of a value: a tensor's type, or that it is a sequence, an optional or a map. */
export interface Statement {
  readonly kind: string;
  readonly dtype: DType | undefined;
  readonly shape: Shape | undefined;
}

/** What is true of one value: what it must be, and what onnx infers. */
export interface ValueTruth {
  readonly must: Statement | undefined;
  readonly inferred: Statement | undefined;
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
      const said = statementOf(value);
      return [name, { must: said, inferred: said }];
    });
    return { values: new Map(values), hidden: false };
  }
  const inferred = recordOf(entry.get("onnx"));
  const values = [...recordOf(declared)].map(([name, value]): [string, ValueTruth] => [
    name,
    { must: statementOf(value), inferred: statementOf(inferred.get(name)) },
  ]);
  return { values: new Map(values), hidden: true };
}

/** Element types by the names of onnx: two are their own, the others differ in case only. */
const DTYPES: ReadonlyMap<string, DType> = new Map<string, DType>([
  ...[...CODE_OF.keys()].map((dtype): [string, DType] => [dtype.toUpperCase(), dtype]),
  ["FLOAT", "float32"],
  ["DOUBLE", "float64"],
]);

/** `unk__N` is onnx's way to say that a size is not known. */
function statementOf(value: unknown): Statement | undefined {
  const said = recordOf(value);
  const shape = said.get("shape");
  if (said.size === 0) return undefined;
  return {
    kind: String(said.get("kind") ?? "tensor").replace(/_type$/, ""),
    dtype: DTYPES.get(String(said.get("dtype"))),
    shape: Array.isArray(shape)
      ? shape.map((dim: unknown) => (typeof dim === "number" ? dim : UNKNOWN_DIM))
      : undefined,
  };
}

function recordOf(value: unknown): ReadonlyMap<string, unknown> {
  return new Map(Object.entries(value ?? {}));
}
