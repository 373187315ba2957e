// Layers that move elements, and that change the size of images.

import { int, ints, string } from "../../graph/graph.ts";
import { formatShape } from "../../graph/shape.ts";
import { float32 } from "../../graph/tensor.ts";
import { type Layer, layer } from "../layer.ts";
import { integerList, ranked, type Size, sizes, wholeSizes } from "./shared.ts";

/** All axes behind the batch in one, `[N, …]` → `[N, K]`. */
export function flatten(): Layer {
  return layer("flatten", (net, x) => net.emit("Flatten", [x], { attributes: { axis: int(1) } }));
}

/**
 * Other axes behind the batch, `[N, …]` → `[N, …shape]`. One size may be -1: what is left.
 *
 * @example
 * nn.reshape(256, -1)
 */
export function reshape(...shape: readonly number[]): Layer {
  return layer("reshape", (net, x) => {
    const known = shape.filter((size) => size !== -1);
    if (shape.length - known.length > 1 || known.some((size) => !(size > 0))) {
      const text = `[${shape}] is no shape`;
      net.fail("nn/reshape", text, "Give whole sizes, and at most one -1.");
    }
    const target = integerList(net, [0, ...shape]);
    const y = net.emit("Reshape", [x, target]);
    const [before, after] = [net.shape(x).slice(1), net.shape(y).slice(1)];
    const count = before.reduce((a: number, b) => a * (typeof b === "number" ? b : Number.NaN), 1);
    const fixed = known.reduce((a, b) => a * b, 1);
    const fits =
      Number.isNaN(count) || (shape.includes(-1) ? count % fixed === 0 : count === fixed);
    if (!fits) {
      const text = `[${before}] has ${count} elements, [${after}] does not`;
      net.fail("nn/reshape", text, "Give sizes whose product is that, or one of them as -1.");
    }
    return y;
  });
}

/**
 * The same elements with the axes in another order, the batch included.
 *
 * @example
 * nn.transpose(0, 2, 1)
 */
export function transpose(...order: readonly number[]): Layer {
  return layer("transpose", (net, x) => {
    const shape = net.shape(x);
    const whole = order.toSorted((a, b) => a - b).every((axis, i) => axis === i);
    if (!whole || order.length !== shape.length) {
      const text = `[${order}] is no order of the ${shape.length} axes of ${formatShape(shape)}`;
      net.fail("nn/axis", text, "Name each axis once, 0 first if the batch stays in front.");
    }
    return net.emit("Transpose", [x], { attributes: { perm: ints(order) } });
  });
}

/** Options of a resize: by a factor, or to a size. */
export type ResizeOptions = (
  | { readonly scale: Size; readonly size?: undefined }
  | { readonly size: Size; readonly scale?: undefined }
) & {
  /** Default `nearest`. */
  readonly mode?: "nearest" | "linear" | "cubic";
};

/**
 * Images of another size, `[N, C, H, W]` → `[N, C, H', W']`. Pixels are areas: their centres are at half
 * (ONNX Resize-19 `half_pixel`); `nearest` takes the pixel whose area the centre begins in, as
 * PyTorch's default does (`asymmetric`, `floor`).
 *
 * @example
 * nn.resize({ scale: 2 })
 */
export function resize(options: ResizeOptions): Layer {
  const { mode = "nearest" } = options;
  return layer("resize", (net, x) => {
    ranked(net, x, {
      what: "a resize",
      form: "[N,C,H,W]",
      ranks: [4],
      fix: "Give the example the shape [channels, height, width].",
    });
    const { scale = Number.NaN } = options;
    const target =
      options.size === undefined
        ? sizes(scale, 2)
        : wholeSizes(net, "the size", options.size, { axes: 2 });
    if (target.length !== 2 || target.some((one) => !(one > 0 && one < Number.POSITIVE_INFINITY))) {
      net.fail("nn/option", `[${target}] is no scale`, "Give numbers above zero, or a size.");
    }
    if (!["nearest", "linear", "cubic"].includes(mode)) {
      const text = `the mode of a resize is "${mode}"`;
      net.fail("nn/option", text, 'Use "nearest", "linear" or "cubic".');
    }
    const attributes = {
      axes: ints([2, 3]),
      mode: string(mode),
      ...(mode === "nearest"
        ? {
            coordinate_transformation_mode: string("asymmetric"),
            nearest_mode: string("floor"),
          }
        : { coordinate_transformation_mode: string("half_pixel") }),
      ...(mode === "cubic" ? { cubic_coeff_a: { kind: "float", value: -0.75 } as const } : {}),
    };
    const inputs =
      options.size === undefined
        ? [x, "", net.constant(float32([2], target), "scales")]
        : [x, "", "", integerList(net, target)];
    return net.emit("Resize", inputs, { attributes });
  });
}
