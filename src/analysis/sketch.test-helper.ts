// A short notation for the graphs of tests.

import { inferShapes } from "../canonical/infer-shapes.ts";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import { type Graph, int, ints, type ValueName } from "../graph/graph.ts";
import { float32 } from "../graph/tensor.ts";

/** A short notation for graphs of the tests: x is [N, 8, 8, 8] unless said otherwise. */
export class Sketch {
  readonly b: TypedBuilder = new TypedBuilder();
  readonly x: ValueName;
  #weights = 0;

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
    return this.b.emit("MatMul", [x, w]);
  }

  op(op: string, ...inputs: ValueName[]): ValueName {
    return this.b.emit(op, inputs);
  }

  one(value: number): ValueName {
    return this.b.constant(float32([], [value]));
  }

  concat(...inputs: ValueName[]): ValueName {
    return this.b.emit("Concat", inputs, { attributes: { axis: int(1) } });
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

  end(y: ValueName): Graph {
    this.b.output({ name: y, dtype: "float32", shape: undefined });
    return inferShapes(this.b.finish("sketch", new Map([["", 20]])));
  }
}
