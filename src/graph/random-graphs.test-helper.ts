// Random graphs of whatever a graph can hold, for properties.

import fc from "fast-check";
import { type DType, dtypeBytes } from "./dtype.ts";
import type { Attribute, Graph, GraphFunction, Node, Value, ValueType } from "./graph.ts";
import { functionKey } from "./graph.ts";
import { NodeNames } from "./node-names.ts";
import type { TensorRef } from "./tensor.ts";
import { containerType, sequenceOf } from "./value-type.ts";

/** Every element type. */
export const DTYPES = Object.keys({
  ...{ float32: 0, float64: 0, float16: 0, bfloat16: 0, int8: 0, int16: 0, int32: 0, int64: 0 },
  ...{ uint8: 0, uint16: 0, uint32: 0, uint64: 0, bool: 0, string: 0, complex64: 0, complex128: 0 },
  ...{ float8e4m3fn: 0, float8e4m3fnuz: 0, float8e5m2: 0, float8e5m2fnuz: 0, float8e8m0: 0 },
  ...{ float6e2m3: 0, float6e3m2: 0, float4e2m1: 0, uint4: 0, int4: 0, uint2: 0, int2: 0 },
} satisfies Record<DType, 0>) as DType[];

const word = fc.oneof(
  fc.constantFrom(
    "float",
    "seq",
    "nan",
    "INF",
    "a b",
    'q"q',
    "b\\",
    "line\nend",
    "é…",
    "#",
    "x/y.z",
  ),
  fc.string({ maxLength: 8, unit: "binary" }),
  fc.stringMatching(/^[a-z_]\w{0,6}$/),
);
const domain = fc.constantFrom("", "", "com.microsoft", "pkg.torch.2.1+cu", "a..b", "x y", "float");
const int64 = fc.oneof(
  fc.maxSafeInteger(),
  fc.bigInt({ min: 2n ** 53n, max: 2n ** 63n - 1n }),
  fc.bigInt({ min: -(2n ** 63n), max: -(2n ** 53n) }),
);

/** Makes a sound graph of whatever the text form can hold. */
export class RandomGraphs {
  readonly #g: fc.GeneratorValue;
  readonly opsets: ReadonlyMap<string, number>;

  constructor(g: fc.GeneratorValue) {
    this.#g = g;
    this.opsets = new Map(g(fc.array, fc.tuple(word, fc.nat()), { maxLength: 3 }));
  }

  #count(max: number): number {
    return this.#g(fc.nat, { max });
  }

  #times<T>(max: number, make: () => T): T[] {
    return Array.from({ length: this.#count(max) }, make);
  }

  #fresh(taken: Set<string>): string {
    const stem = this.#g(() => word);
    let name = stem;
    for (let n = 0; name === "" || taken.has(name); n++) name = `${stem}${n}`;
    taken.add(name);
    return name;
  }

  #value(name: string): Value {
    return { name, ...this.#type(3) };
  }

  /** A tensor, or a container of a length that nothing says. */
  #type(depth: number): ValueType {
    const kind = depth === 0 ? 0 : this.#count(5);
    if (kind === 1) return sequenceOf(this.#type(depth - 1));
    if (kind === 2) return containerType({ kind: "optional", of: this.#type(depth - 1) });
    if (kind === 3) {
      const key = this.#g(fc.constantFrom, ...DTYPES);
      return containerType({ kind: "map", key, of: this.#type(depth - 1) });
    }
    const dim = fc.oneof(fc.nat(), word.filter(Boolean), fc.constant("?"));
    const shape = fc.option(fc.array(dim, { maxLength: 3 }), { nil: undefined });
    return { dtype: this.#g(fc.constantFrom, ...DTYPES), shape: this.#g(() => shape) };
  }

  tensor(): TensorRef {
    const dtype = this.#g(fc.constantFrom, ...DTYPES);
    const shape = this.#g(fc.array, fc.nat({ max: 3 }), { maxLength: 3 });
    const count = shape.reduce((a, b) => a * b, 1);
    const kind = this.#count(8);
    if (kind === 0 && count > 0) return { dtype, shape, data: { kind: "absent" } };
    if (kind === 1) {
      const length = this.#g(fc.option, fc.nat(), { nil: undefined });
      const location = this.#g(() => word);
      return {
        dtype,
        shape,
        data: { kind: "external", location, offset: this.#count(99), length },
      };
    }
    if (dtype === "string") {
      const texts = this.#g(fc.array, fc.string(), { minLength: count, maxLength: count });
      const values = texts.map((text) => new TextEncoder().encode(text));
      return { dtype, shape, data: { kind: "strings", values } };
    }
    const size = dtypeBytes(dtype, count);
    const bytes = this.#g(fc.uint8Array, { minLength: size, maxLength: size });
    // The bits behind the last element of a packed type are none of its own.
    const used = (dtypeBytes(dtype, 8) * count) % 8;
    if (used > 0) bytes[size - 1] = (bytes[size - 1] ?? 0) & ((1 << used) - 1);
    return { dtype, shape, data: { kind: "bytes", bytes } };
  }

  attribute(depth: number, outer: ReadonlySet<string>): Attribute {
    const kind = this.#count(depth > 0 ? 9 : 7);
    const float = fc.float();
    const floats = fc.array(float, { maxLength: 3 });
    switch (kind) {
      case 0:
        return { kind: "int", value: this.#g(() => int64) };
      case 1:
        return { kind: "ints", value: this.#g(fc.array, int64, { maxLength: 3 }) };
      case 2:
        return { kind: "float", value: this.#g(() => float) };
      case 3:
        return { kind: "floats", value: this.#g(() => floats) };
      case 4:
        return { kind: "string", value: this.#g(() => word) };
      case 5:
        return { kind: "strings", value: this.#g(fc.array, word, { maxLength: 3 }) };
      case 6: {
        const reference = { kind: "reference", attribute: this.#g(() => word) } as const;
        const types = ["float", "ints", "graph", "type_proto", undefined] as const;
        const type = this.#g(fc.constantFrom, ...types);
        return type === undefined ? reference : { ...reference, type };
      }
      case 7:
        return { kind: "tensor", value: this.tensor() };
      case 8:
        return { kind: "graph", value: this.graph(depth - 1, outer) };
      default:
        return { kind: "graphs", value: this.#times(2, () => this.graph(depth - 1, outer)) };
    }
  }

  #overload(): Pick<Node, "overload"> {
    const overload = this.#count(2) === 0 ? this.#g(() => word) : "";
    return overload === "" ? {} : { overload };
  }

  #nodes(depth: number, defined: Set<string>): Node[] {
    const names = new NodeNames();
    return this.#times(4, () => {
      const op = this.#g(() => word);
      const known = ["", ...defined];
      const inputs = this.#times(3, () => this.#g(fc.constantFrom, ...known));
      const attributes = new Map(
        this.#times(3, () => [this.#g(() => word), this.attribute(depth, new Set(defined))]),
      );
      const outputs = this.#times(3, () => (this.#count(4) === 0 ? "" : this.#fresh(defined)));
      // A last argument that is left out is not there.
      const own = this.#count(1) === 0 ? "" : this.#g(() => word);
      return {
        name: names.take(own, op),
        op,
        domain: this.#g(() => domain),
        inputs,
        outputs,
        attributes,
        ...this.#overload(),
      };
    });
  }

  graph(depth: number, outer: ReadonlySet<string> = new Set()): Graph {
    const defined = new Set<string>(outer);
    const inputs = this.#times(3, () => this.#value(this.#fresh(defined)));
    const initializers = new Map(this.#times(3, () => [this.#fresh(defined), this.tensor()]));
    if (inputs[0] !== undefined && this.#count(3) === 0)
      initializers.set(inputs[0].name, this.tensor());
    const nodes = this.#nodes(depth, defined);
    const pick = (): Value[] =>
      this.#times(3, () => [...defined])
        .flatMap((names) => (names.length === 0 ? [] : [this.#g(fc.constantFrom, ...names)]))
        .map((name) => this.#value(name));
    const values = new Map(pick().map((value) => [value.name, value]));
    const { opsets } = this;
    const name = this.#g(() => word);
    return {
      name,
      inputs,
      outputs: pick(),
      nodes,
      initializers,
      values,
      opsets,
      metadata: new Map(),
    };
  }

  function(): GraphFunction {
    const defined = new Set<string>();
    const inputs = this.#times(2, () => this.#fresh(defined));
    const nodes = this.#nodes(1, defined);
    const outputs = [...defined].slice(0, 2);
    const entries = this.#times(
      2,
      () => [this.#g(() => word), this.attribute(0, defined)] as const,
    );
    const opsets = new Map(this.#g(fc.array, fc.tuple(domain, fc.nat()), { maxLength: 2 }));
    return { inputs, outputs, nodes, defaults: new Map(entries), opsets };
  }

  model(): Graph {
    const metadata = new Map(this.#g(fc.array, fc.tuple(word, word), { maxLength: 3 }));
    const made = { ...this.graph(2), metadata };
    const functions = new Map(
      this.#times(2, () => {
        const called = { domain: this.#g(() => domain), op: this.#g(() => word) };
        return [functionKey({ ...called, ...this.#overload() }), this.function()];
      }),
    );
    return functions.size === 0 ? made : { ...made, functions };
  }
}
