// Rotary position embedding written out: pairs of elements turned by an angle (Su et al. 2021, equation 34).

import { int, type ValueName } from "../graph/graph.ts";
import { arithmetic } from "./arithmetic.ts";
import { reshapeLike, shapeConstant, sizesOf } from "./construct.ts";
import type { Emitter } from "./op.ts";

/** The angles, and how they pair the elements of x. */
export interface Rotation {
  /** Broadcast against `[…, pairs]`. */
  readonly cos: ValueName;
  readonly sin: ValueName;
  /** How many elements are turned, from the first; 0: all. */
  readonly width: number;
  /** Pairs stand side by side, else half the width apart. */
  readonly interleaved: boolean;
}

/** x of four axes with the first elements of its last axis turned. */
export function rotate(context: Emitter, x: ValueName, rotation: Rotation): ValueName {
  const { width } = rotation;
  const whole = context.typeOf(x)?.shape?.[3];
  if (width === 0 || width === whole) return turned(context, x, rotation);
  const own = shapeConstant(context, [width]);
  const left = (): ValueName => context.emit("Sub", [sizesOf(context, x, [3]), own]);
  const sizes =
    typeof whole === "number"
      ? shapeConstant(context, [width, whole - width])
      : context.emit("Concat", [own, left()], { attributes: { axis: int(0) } });
  const [first = "", rest = ""] = context.emitAll("Split", [x, sizes], {
    attributes: { axis: int(3) },
    outputCount: 2,
  });
  return context.emit("Concat", [turned(context, first, rotation), rest], {
    attributes: { axis: int(3) },
  });
}

function turned(context: Emitter, x: ValueName, { cos, sin, interleaved }: Rotation): ValueName {
  const a = arithmetic(context, x);
  // With an axis of their own, the two of a pair are apart along it, whichever way they stand.
  const axis = interleaved ? 4 : 3;
  const pairs = interleaved
    ? context.emit("Reshape", [x, shapeConstant(context, [0, 0, 0, -1, 2])])
    : context.emit("Reshape", [x, shapeConstant(context, [0, 0, 0, 2, -1])]);
  const [real = "", imaginary = ""] = context
    .emitAll("Split", [pairs, shapeConstant(context, [1, 1])], {
      attributes: { axis: int(axis) },
      outputCount: 2,
    })
    .map((part) => context.emit("Squeeze", [part, shapeConstant(context, [axis])]));
  const parts = [
    a.sub(a.mul(cos, real), a.mul(sin, imaginary)),
    a.add(a.mul(sin, real), a.mul(cos, imaginary)),
  ].map((part) => context.emit("Unsqueeze", [part, shapeConstant(context, [axis])]));
  const joined = context.emit("Concat", parts, { attributes: { axis: int(axis) } });
  return reshapeLike(context, joined, x);
}
