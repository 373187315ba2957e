// A short notation for the graphs of tests.

import { inferShapes } from "../canonical/infer-shapes.ts";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import { type Graph, int, ints, type ValueName } from "../graph/graph.ts";
import { float32, int64 } from "../graph/tensor.ts";

/** A short notation for graphs of the tests: x is [N, 8, 8, 8] unless said otherwise. */
export class Sketch {
  /** Of the graph, or of the body that is drawn at the moment. */
  b: TypedBuilder = new TypedBuilder();
  readonly x: ValueName;
  #weights = 0;
  #bodies = 0;
  #within = "";

  constructor(shape: readonly (number | string)[] = ["N", 8, 8, 8]) {
    this.x = this.b.input("x", "float32", shape);
  }

  conv(x: ValueName, channels = 8, options: { kernel?: number; stride?: number } = {}): ValueName {
    const { kernel = 3, stride = 1 } = options;
    const inputs = Number(this.b.typeOf(x)?.shape?.[1]);
    const w = this.b.initializer(`w${this.#weights++}`, {
      dtype: "float32",
      shape: [channels, inputs, kernel, kernel],
      data: { kind: "absent" },
    });
    const pad = Math.floor(kernel / 2);
    return this.b.emit("Conv", [x, w], {
      name: this.named("Conv"),
      attributes: { strides: ints([stride, stride]), pads: ints([pad, pad, pad, pad]) },
    });
  }

  linear(x: ValueName, units = 8): ValueName {
    const inputs = Number(this.b.typeOf(x)?.shape?.at(-1));
    const w = this.b.initializer(`w${this.#weights++}`, {
      dtype: "float32",
      shape: [inputs, units],
      data: { kind: "absent" },
    });
    return this.b.emit("MatMul", [x, w], { name: this.named("MatMul") });
  }

  op(op: string, ...inputs: ValueName[]): ValueName {
    return this.b.emit(op, inputs, { name: this.named(op) });
  }

  one(value: number): ValueName {
    return this.b.constant(float32([], [value]), this.named("constant"));
  }

  concat(...inputs: ValueName[]): ValueName {
    const name = this.named("Concat");
    return this.b.emit("Concat", inputs, { name, attributes: { axis: int(1) } });
  }

  split(x: ValueName): readonly ValueName[] {
    const options = { outputCount: 2, attributes: { axis: int(1), num_outputs: int(2) } };
    return this.b.emitAll("Split", [x], options);
  }

  pool(x: ValueName, op = "MaxPool", stride = 2): ValueName {
    return this.b.emit(op, [x], {
      attributes: { kernel_shape: ints([2, 2]), strides: ints([stride, stride]) },
    });
  }

  /** y = If(c) {then} {other}. */
  either(c: ValueName, then: () => ValueName, other: () => ValueName): ValueName {
    const branches = [then, other].map((draw) => this.#body(() => [this.#end(draw())]));
    const [then_branch, else_branch] = branches.map((value) => ({ kind: "graph", value }) as const);
    if (then_branch === undefined || else_branch === undefined) throw new Error("two branches");
    return this.b.emit("If", [c], {
      name: this.#fresh("if"),
      attributes: { then_branch, else_branch },
    });
  }

  /** y = draw(draw(… x)), as a Loop. */
  repeat(x: ValueName, draw: (h: ValueName) => ValueName, times = 3): ValueName {
    const type = this.b.typeOf(x);
    const value = this.#body((own) => {
      this.b.input(`${own}.i`, "int64", []);
      const go = this.b.input(`${own}.go`, "bool", []);
      const next = draw(this.b.input(`${own}.h`, type?.dtype ?? "float32", type?.shape ?? []));
      return [this.op("Identity", go), this.#end(next)];
    });
    const trips = this.b.constant(int64([], [times]), this.named("trips"));
    const name = this.#fresh("loop");
    return this.b.emit("Loop", [trips, "", x], {
      name,
      attributes: { body: { kind: "graph", value } },
    });
  }

  /** What a body gives has to be made in it. */
  #end(value: ValueName): ValueName {
    return this.op("Identity", value);
  }

  #fresh(stem: string): string {
    return `${stem}${this.#bodies++}`;
  }

  /** Names in a body differ from those around it. */
  named(op: string): string {
    return this.#within === "" ? op : `${this.#within}.${op}`;
  }

  #body(draw: (own: string) => readonly ValueName[]): Graph {
    const [outer, around] = [this.b, this.#within];
    const own = this.#fresh("body");
    this.b = outer.body();
    this.#within = own;
    for (const name of draw(own)) {
      const type = this.b.typeOf(name);
      this.b.output({ name, dtype: type?.dtype ?? "float32", shape: type?.shape });
    }
    const body = this.b.finish(own, new Map());
    this.b = outer;
    this.#within = around;
    return body;
  }

  end(y: ValueName): Graph {
    this.b.output({ name: y, dtype: "float32", shape: undefined });
    return inferShapes(this.b.finish("sketch", new Map([["", 20]])));
  }
}
