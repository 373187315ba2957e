// Fields of a JSON document that nobody has checked yet.

import type { Diagnostic } from "../base/diagnostic.ts";
import { limits } from "../base/limits.ts";
import { requestFault } from "./fault.ts";
import type { Parameters, ParameterValue } from "./request.ts";

/** The fields of an object; undefined for what is none. */
export function fieldsOf(value: unknown): ReadonlyMap<string, unknown> | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  return new Map(Object.entries(value));
}

/** A field that may be left out. Clients with typed requests write null for what is not set. */
export function optional(fields: ReadonlyMap<string, unknown>, name: string): unknown {
  return fields.get(name) ?? undefined;
}

/** A shape: sizes from 0 up, not more than a tensor has. */
export function shapeOf(value: unknown): readonly number[] | undefined {
  if (!Array.isArray(value) || value.length > limits.rankMax) return undefined;
  const list: readonly unknown[] = value;
  return list.every((dim): dim is number => Number.isSafeInteger(dim) && Number(dim) >= 0)
    ? list
    : undefined;
}

/** Parameters of a request, an output, or a call of the repository: strings, numbers and truth values by name. */
export function readParameters(given: unknown, where: string, faults: Diagnostic[]): Parameters {
  const parameters = new Map<string, ParameterValue>();
  if (given === undefined) return parameters;
  const fields = fieldsOf(given);
  if (fields === undefined) {
    faults.push(requestFault(where, "the parameters are no JSON object"));
    return parameters;
  }
  for (const [name, value] of fields) {
    if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") {
      parameters.set(name, value);
    } else {
      const text = `the parameter "${name.slice(0, 128)}" is no string, number or truth value`;
      faults.push(requestFault(where, text));
    }
  }
  return parameters;
}
