// What is wrong with a request, as a finding.

import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { limits } from "../base/limits.ts";

/** Characters of a name that an error repeats. */
const NAME_SHOWN = 128;

/** A fault of a request at a place such as `input "x"`. */
export function requestFault(where: string, text: string): Diagnostic {
  return diagnostic({
    id: "request/invalid",
    severity: "error",
    where,
    text,
    fix: "See the model's metadata for names, datatypes and shapes.",
  });
}

/** More tensors than a request may name: one fault, not one for each. */
export function tooManyTensors(where: string, count: number): Diagnostic {
  const text = `lists ${count} tensors; at most ${limits.requestTensorsMax} may be named`;
  return requestFault(where, text);
}

/** How an error names an input or output. */
export function called(kind: "input" | "output", name: string): string {
  return `${kind} "${name.slice(0, NAME_SHOWN)}"`;
}
