// Fake quantization: a value rounded to a grid and brought back at once, as quantized models write it
// before every op that is to be computed in integers.

import { int, intAttribute, type Node, string, type ValueName } from "../../graph/graph.ts";
import { MACRO_DOMAIN } from "../../ops/macro.ts";
import type { Idiom, Match, View } from "./view.ts";

/** QuantizeLinear and DequantizeLinear with the same scale, zero point, axis and blocks. */
export const fakeQuantize: Idiom = {
  name: "pairs of QuantizeLinear and DequantizeLinear",
  roots: ["DequantizeLinear"],
  *match(view, root): Generator<Match> {
    const [inner = "", scale = "", zero = ""] = root.inputs;
    const quantize = view.made(inner, "QuantizeLinear");
    if (quantize === undefined) return;
    const [x = "", otherScale = "", otherZero = ""] = quantize.inputs;
    const [output = ""] = root.outputs;
    const same = sameConstant(view, scale, otherScale) && sameConstant(view, zero, otherZero);
    if (!same || !sameAttributes(quantize, root) || view.dtype(x) !== view.dtype(output)) return;
    const attributes = {
      axis: int(intAttribute(root, "axis", 1)),
      block_size: int(intAttribute(root, "block_size", 0)),
      to: string(view.dtype(inner) ?? "uint8"),
    };
    const inputs = zero === "" ? [x, scale] : [x, scale, zero];
    yield { op: "FakeQuantize", domain: MACRO_DOMAIN, inputs, attributes, nodes: [quantize] };
  },
};

function sameAttributes(a: Node, b: Node): boolean {
  return [
    ["axis", 1],
    ["block_size", 0],
  ].every(([name, fallback]) => {
    const [key, value] = [String(name), Number(fallback)];
    return intAttribute(a, key, value) === intAttribute(b, key, value);
  });
}

/** One constant, or two of the same number. */
function sameConstant(view: View, a: ValueName, b: ValueName): boolean {
  if (a === b) return true;
  const [x, y] = [view.scalar(a), view.scalar(b)];
  return x !== undefined && x === y && view.dtype(a) === view.dtype(b);
}
