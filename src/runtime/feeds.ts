// Whether what is fed to a model fits it. Checked before the runtime sees it: the runtime ignores names
// that it does not know, and says little about the rest.

import { isUtf8 } from "node:buffer";
import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { limits } from "../base/limits.ts";
import type { DType } from "../graph/dtype.ts";
import type { ValueType } from "../graph/graph.ts";
import { elementCount, formatShape, UNKNOWN_DIM } from "../graph/shape.ts";
import { visitStrings } from "../graph/string-tensor.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { Tensors } from "./runner.ts";

/** What element types are called. */
type TypeNames = (dtype: DType) => string;

/** Every fault of the feeds: unknown and missing names, types, shapes, symbols that disagree. */
export function checkFeeds(
  inputs: ReadonlyMap<string, ValueType>,
  feeds: Tensors,
  called: TypeNames = (dtype) => dtype,
): Diagnostic[] {
  const found: Diagnostic[] = [];
  const sizes = new Map<string, number>();
  for (const [name, value] of feeds) {
    const expected = inputs.get(name);
    if (expected === undefined) found.push(unknownName("input", name, [...inputs.keys()]));
    else checkOne(name, value, expected, { found, sizes, called });
  }
  for (const [name, expected] of inputs) {
    if (feeds.has(name)) continue;
    found.push(
      fault("input/missing", name, `is missing; the model expects ${formatType(expected, called)}`),
    );
  }
  return found;
}

/** Every requested output that the model does not have; a request of none is a fault, too. */
export function checkFetches(
  outputs: ReadonlyMap<string, ValueType>,
  wanted: readonly string[] | undefined,
): Diagnostic[] {
  if (wanted === undefined) return [];
  if (wanted.length === 0) return [noOutputs([...outputs.keys()])];
  return wanted
    .filter((name) => !outputs.has(name))
    .map((name) => unknownName("output", name, [...outputs.keys()]));
}

/** `float32[N,1,8,8]`. */
export function formatType(type: ValueType, called: TypeNames = (dtype) => dtype): string {
  return `${called(type.dtype)}${formatShape(type.shape)}`;
}

/** What was found in the inputs before, and how it is said. */
interface Findings {
  readonly found: Diagnostic[];
  readonly sizes: Map<string, number>;
  readonly called: TypeNames;
}

/** Texts are made of faults alone: all that is right is asked twice on its way to a process. */
function checkOne(
  name: string,
  value: Tensor,
  expected: ValueType,
  { found, sizes, called }: Findings,
): void {
  const wanted = (): string => `the model expects ${formatType(expected, called)}`;
  if (value.dtype !== expected.dtype) {
    found.push(fault("input/dtype", name, `has type ${called(value.dtype)}; ${wanted()}`));
  } else if (value.dtype === "string") found.push(...checkStrings(name, value));
  const { shape } = expected;
  if (shape === undefined) return;
  const wrongShape = (): void => {
    const given = formatShape(value.shape);
    found.push(fault("input/shape", name, `has shape ${given}; ${wanted()}`));
  };
  if (shape.length !== value.shape.length) {
    wrongShape();
    return;
  }
  for (let axis = 0; axis < shape.length; axis++) {
    const [dim, size] = [shape[axis], value.shape[axis] ?? 0];
    if (typeof dim === "number" && dim !== size) {
      wrongShape();
      return;
    }
    if (typeof dim !== "string" || dim === UNKNOWN_DIM) continue;
    const before = sizes.get(dim);
    if (before !== undefined && before !== size) {
      found.push(
        fault("input/shape", name, `has ${size} for "${dim}", another input has ${before}`),
      );
    }
    sizes.set(dim, size);
  }
}

/** The runtime has text, and its binding ends a text at NUL: what would change on its way is refused. */
function checkStrings(name: string, value: Tensor): Diagnostic[] {
  const count = elementCount(value.shape) ?? 0;
  if (count > limits.stringElementsMax) {
    const text = `has ${count} strings; at most ${limits.stringElementsMax} are accepted`;
    return [fault("input/data", name, text)];
  }
  let broken: string | undefined;
  const sound = visitStrings(value, (bytes, index) => {
    if (broken !== undefined) return;
    if (!isUtf8(bytes)) broken = `is no UTF-8 (element ${index})`;
    else if (bytes.includes(0)) broken = `has a NUL in it (element ${index})`;
  });
  if (!sound) {
    const text = `has lengths that do not add up to the ${count} strings of its shape`;
    return [fault("input/data", name, text)];
  }
  return broken === undefined ? [] : [fault("input/text", name, `has text that ${broken}`)];
}

/** Names that an error lists, and characters that it repeats of one that somebody sent. */
const NAMES_SHOWN = 20;
const NAME_SHOWN = 128;

function namesOf(known: readonly string[]): string {
  const shown = known.slice(0, NAMES_SHOWN).map((name) => `"${name}"`);
  const more = known.length - shown.length;
  return shown.join(", ") + (more > 0 ? ` and ${more} more` : "");
}

function unknownName(kind: "input" | "output", name: string, known: readonly string[]): Diagnostic {
  return diagnostic({
    id: `${kind}/unknown-name`,
    severity: "error",
    where: `${kind} "${name.slice(0, NAME_SHOWN)}"`,
    text: `the model has no ${kind} of this name; it has ${namesOf(known)}`,
    fix: `Use one of the model's own names.`,
  });
}

function noOutputs(known: readonly string[]): Diagnostic {
  return diagnostic({
    id: "output/none",
    severity: "error",
    where: "outputs",
    text: `no output is asked for; the model has ${namesOf(known)}`,
    fix: "Name at least one output, or leave the list out to get all.",
  });
}

function fault(id: string, name: string, text: string): Diagnostic {
  return diagnostic({
    id,
    severity: "error",
    where: `input "${name}"`,
    text,
    fix: "Send a tensor of the type and shape that the model expects.",
  });
}
