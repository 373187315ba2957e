// Types and tensors of the text form: `float[N,3]`, `seq(float[N,3])`, `float[2] = {1,2}`.

import { limits } from "../../base/limits.ts";
import type { DType } from "../dtype.ts";
import type { ValueType } from "../graph.ts";
import { type Dim, elementCount, isStatic, type Shape, UNKNOWN_DIM } from "../shape.ts";
import type { TensorData, TensorRef } from "../tensor.ts";
import { containerType, sequenceOf, typeOnly } from "../value-type.ts";
import { ElementBytes, elementTexts, numbersPerElement } from "./elements.ts";
import type { Scanner } from "./scanner.ts";
import { dtypeOf, isTypeWord, nameText, quoted, wordOf } from "./words.ts";

/** A type as read. `isTensor`: a dense tensor, which alone can have elements in the text. */
export interface TextType extends ValueType {
  readonly isTensor: boolean;
}

/** What the graph knows of a value whose type it has no word for, as when a file is read. */
export const UNKNOWN_TYPE: TextType = { dtype: "float32", shape: undefined, isTensor: false };

/** `float` is a scalar, `float[]` of unknown rank. There is no word for the length of a sequence. */
export function typeText({ dtype, shape, container }: ValueType): string {
  if (container !== undefined) {
    const of = typeText(container.of);
    if (container.kind === "map") return `map(${wordOf(container.key)}, ${of})`;
    return `${container.kind === "sequence" ? "seq" : "optional"}(${of})`;
  }
  if (shape === undefined) return `${wordOf(dtype)}[]`;
  return shape.length === 0 ? wordOf(dtype) : `${wordOf(dtype)}[${shape.map(dimText).join(",")}]`;
}

function dimText(dim: Dim): string {
  if (typeof dim === "number") return String(dim);
  return dim === UNKNOWN_DIM ? dim : nameText(dim);
}

/** What stands after the type of a tensor: its elements, where they are, or that there are none. */
export function dataText(ref: TensorRef, elide: boolean): string {
  const { data } = ref;
  switch (data.kind) {
    case "absent":
      return "{}";
    case "external": {
      const entries = [`"location": ${quoted(data.location)}`, `"offset": "${data.offset}"`];
      if (data.length !== undefined) entries.push(`"length": "${data.length}"`);
      return `[${entries.join(", ")}]`;
    }
    case "strings": {
      const texts = elide ? undefined : stringTexts(data.values);
      return texts === undefined ? "{…}" : `{${texts.join(",")}}`;
    }
    case "bytes": {
      if (elide) return "{…}";
      return `{${elementTexts(ref.dtype, elementCount(ref.shape) ?? 0, data.bytes).join(",")}}`;
    }
  }
}

/** Strings in quotes, or undefined if one of them is not text. */
function stringTexts(values: readonly Uint8Array[]): string[] | undefined {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  try {
    return values.map((bytes) => quoted(decoder.decode(bytes)));
  } catch {
    return undefined;
  }
}

/** Whether a type begins here. */
export function isType(s: Scanner): boolean {
  return s.kind === "name" && isTypeWord(s.value);
}

/** Reads a type. Containers may be nested as deep as in a file. */
export function readType(s: Scanner, depth = 0): TextType {
  const dtype = s.kind === "name" ? dtypeOf(s.value) : undefined;
  if (dtype !== undefined) {
    s.next();
    return { dtype, shape: readShape(s), isTensor: true };
  }
  if (depth > limits.subgraphDepthMax) {
    s.fail("", {
      id: "text/limit",
      text: `types are nested deeper than ${limits.subgraphDepthMax}`,
      fix: "Simplify the type; no real model comes near this limit.",
    });
  }
  if (!isType(s)) s.fail("a type, such as float[N,3]", { fix: typeFix(s.value) });
  const word = s.take("name");
  s.take("(");
  const type = readInner(s, word, depth + 1);
  s.take(")");
  return type;
}

/** What to do about a word that is no type: other formats call some of them otherwise. */
export function typeFix(word: string): string {
  if (word === "float32" || word === "float64") {
    return `Write "${word === "float32" ? "float" : "double"}".`;
  }
  return "Write a type of ONNX, such as float, double, float16, int64 or bool.";
}

/** The type that a word makes of the types inside, as the reader of files has it (`typeFrom`). */
function readInner(s: Scanner, word: string, depth: number): TextType {
  if (word === "opaque") {
    // opaque(), opaque(name), opaque(domain,name), where names may have dots.
    while (s.isName || s.kind === "." || s.kind === ",") s.next();
    return UNKNOWN_TYPE;
  }
  const key = word === "map" ? readKey(s) : undefined;
  const inner = readType(s, depth);
  if (word === "sparse_tensor") return { ...inner, isTensor: false };
  const of = typeOnly(inner);
  return { ...containerOf(word, of, key), isTensor: false };
}

function containerOf(word: string, of: ValueType, key: DType | undefined): ValueType {
  if (key !== undefined) return containerType({ kind: "map", key, of });
  return word === "seq" ? sequenceOf(of) : containerType({ kind: "optional", of });
}

/** The type of the keys of a map: an element type without a shape (TypeProto.Map in onnx.proto). */
function readKey(s: Scanner): DType {
  const key = s.kind === "name" ? dtypeOf(s.value) : undefined;
  if (key === undefined) {
    return s.fail("the type of keys, such as int64 or string", { fix: typeFix(s.value) });
  }
  s.next();
  s.take(",");
  return key;
}

function readShape(s: Scanner): Shape | undefined {
  if (!s.accept("[")) return [];
  if (s.accept("]")) return undefined;
  const dims: Dim[] = [];
  do {
    if (dims.length === limits.rankMax) {
      s.fail("", {
        id: "text/limit",
        text: `has more than ${limits.rankMax} dims`,
        fix: "Use a tensor of lower rank; no runtime takes this one.",
      });
    }
    dims.push(readDim(s));
  } while (s.accept(","));
  s.take("]", '"," or "]"');
  return dims;
}

function readDim(s: Scanner): Dim {
  if (s.accept("?")) return UNKNOWN_DIM;
  if (s.isName) return s.name("a dim") || UNKNOWN_DIM;
  const size = Number(s.take("integer", "a size, a name or ?"));
  // As in a file: a size that none can have is not known.
  return Number.isSafeInteger(size) && size >= 0 ? size : UNKNOWN_DIM;
}

/**
 * Reads what stands after the type and name of a tensor, which may begin with `=`.
 * `start` is where its type begins.
 */
export function readTensor(s: Scanner, type: TextType, start: number): TensorRef {
  const { dtype, shape, isTensor } = type;
  if (!isTensor || !isStatic(shape)) {
    s.fail("", {
      at: start,
      text: "a tensor with elements needs a type with sizes only, such as float[2,3]",
      fix: "Write the sizes of the tensor.",
    });
  }
  const count = elementCount(shape) ?? 0;
  if (!Number.isSafeInteger(count)) {
    s.fail("", {
      at: start,
      id: "text/limit",
      text: "a tensor of this shape has more elements than can be counted",
      fix: "Write the sizes of the tensor.",
    });
  }
  s.accept("=");
  return { dtype, shape, data: readData(s, dtype, count) };
}

function readData(s: Scanner, dtype: DType, count: number): TensorData {
  if (s.accept("[")) return readExternal(s);
  // The reference printer writes `...` without braces for types that it has no literals for.
  if (s.accept("…")) return nothing(dtype, count);
  s.take("{", "the elements of the tensor in {}, or where they are in []");
  if (s.accept("…")) {
    s.take("}");
    return nothing(dtype, count);
  }
  if (s.accept("}")) return nothing(dtype, count);
  return dtype === "string" ? readStrings(s, count) : readNumbers(s, dtype, count);
}

/** The data of a tensor without elements in the text: none at all, or all that there are. */
function nothing(dtype: DType, count: number): TensorData {
  if (count > 0) return { kind: "absent" };
  return dtype === "string"
    ? { kind: "strings", values: [] }
    : { kind: "bytes", bytes: new Uint8Array() };
}

function readNumbers(s: Scanner, dtype: DType, count: number): TensorData {
  const elements = new ElementBytes(dtype);
  const wanted = count * numbersPerElement(dtype);
  readElements(s, wanted, () => elements.read(s));
  return { kind: "bytes", bytes: elements.finish() };
}

function readStrings(s: Scanner, count: number): TensorData {
  const encoder = new TextEncoder();
  const values: Uint8Array[] = [];
  readElements(s, count, () => {
    values.push(encoder.encode(s.take("string", "a string in quotes")));
  });
  return { kind: "strings", values };
}

function readElements(s: Scanner, wanted: number, read: () => void): void {
  const wrong = (given: string): never =>
    s.fail("", {
      id: "text/tensor",
      text: `the type asks for ${wanted} numbers or strings, ${given} are given`,
      fix: "Write as many elements as the type has, or none at all to leave the data out.",
    });
  let found = 0;
  do {
    if (found === wanted) wrong("more");
    read();
    found++;
  } while (s.accept(","));
  if (s.kind === "}" && found < wanted) wrong(String(found));
  s.take("}", '"," or "}"');
}

/** `["location": "file", "offset": "0", "length": "8"]`, as in TensorProto.external_data. */
function readExternal(s: Scanner): TensorData {
  const entries = new Map<string, string>();
  const at = s.start;
  do {
    const key = s.take("string", 'a key in quotes, such as "location"');
    s.take(":");
    entries.set(key, s.take("string", "a string in quotes"));
  } while (s.accept(","));
  s.take("]", '"," or "]"');
  const size = (key: string): number | undefined => {
    const text = entries.get(key);
    if (text === undefined) return undefined;
    const number = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(number)) {
      const fix = "Write a whole number of bytes in quotes.";
      s.fail("", { at, text: `the ${key} is no whole number`, fix });
    }
    return number;
  };
  const [offset = 0, length] = [size("offset"), size("length")];
  return { kind: "external", location: entries.get("location") ?? "", offset, length };
}
