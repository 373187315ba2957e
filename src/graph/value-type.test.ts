import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ValueType } from "./graph.ts";
import { type Shape, UNKNOWN_DIM } from "./shape.ts";
import { valueTypes } from "./value-type.test-helper.ts";
import {
  bindType,
  carried,
  changeShapes,
  containerType,
  either,
  merge,
  sameType,
  sequenceOf,
  typeOnly,
} from "./value-type.ts";

/** Whether a shape is one of those that a type allows. */
function allows(type: ValueType, shape: readonly number[]): boolean {
  if (type.shape === undefined) return true;
  if (type.shape.length !== shape.length) return false;
  return type.shape.every((dim, axis) => typeof dim === "string" || dim === shape[axis]);
}

const float = (...shape: Shape): ValueType => ({ dtype: "float32", shape });
const UNKNOWN: ValueType = { dtype: "float32", shape: undefined };

describe("types of values", () => {
  test("say the same as themselves, and as a copy", () => {
    fc.assert(
      fc.property(valueTypes, (type) => {
        expect(sameType(type, structuredClone(type))).toBe(true);
        expect(merge(undefined, type)).toEqual(type);
        expect(merge(type, type)).toEqual(type);
      }),
    );
  });

  test("differ where anything differs", () => {
    fc.assert(
      fc.property(valueTypes, valueTypes, (a, b) => {
        expect(sameType(a, b)).toBe(JSON.stringify(a) === JSON.stringify(b));
      }),
    );
  });

  test("stay the same object where nothing changes", () => {
    fc.assert(
      fc.property(valueTypes, (type) => {
        expect(changeShapes(type, (shape) => shape)).toBe(type);
      }),
    );
  });

  test("either of two: it allows what one of them allows, whichever comes first", () => {
    const tensors = valueTypes.filter((type) => type.container === undefined);
    const shapes = fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 3 });
    fc.assert(
      fc.property(tensors, tensors, shapes, (a, b, shape) => {
        const one = either(a, b);
        const other = either(b, a);
        expect(one).toEqual(other);
        if (one !== undefined && (allows(a, shape) || allows(b, shape))) {
          expect(allows(one, shape)).toBe(true);
        }
      }),
    );
  });

  test("either of two containers holds what either holds", () => {
    expect(either(sequenceOf(float(2, 3), 4), sequenceOf(float(2, 5), 4))).toEqual(
      sequenceOf(float(2, UNKNOWN_DIM), 4),
    );
    expect(either(sequenceOf(float(2), 1), sequenceOf(float(2), 3))).toEqual(sequenceOf(float(2)));
    // An empty one has no elements to agree with.
    expect(either(sequenceOf(UNKNOWN, 0), sequenceOf(float(2), 3))).toEqual(sequenceOf(float(2)));
    expect(either(sequenceOf(UNKNOWN), sequenceOf(float(2), 3))).toEqual(sequenceOf(UNKNOWN));
    expect(either(sequenceOf(float(2)), float(2))).toBeUndefined();
    const optional = containerType({ kind: "optional", of: float(2) });
    expect(either(optional, sequenceOf(float(2)))).toBeUndefined();
  });

  test("declared and inferred together know more than each, inside containers too", () => {
    const declared = sequenceOf(float("N", UNKNOWN_DIM, 3));
    expect(merge(declared, sequenceOf(float(4, 5, UNKNOWN_DIM), 2))).toEqual(
      sequenceOf(float(4, 5, 3), 2),
    );
    // A declaration stands against another kind of value; one that says nothing gives way.
    expect(merge(declared, float(2))).toEqual(declared);
    expect(merge(float(2), declared)).toEqual(float(2));
    expect(merge(UNKNOWN, declared)).toEqual(declared);
  });

  test("numbers in place of symbols, inside containers too", () => {
    const sizes = new Map([["N", 4]]);
    expect(bindType(sequenceOf(float("N", "M"), 2), sizes)).toEqual(sequenceOf(float(4, "M"), 2));
  });

  test("what a loop carries on keeps its kind, not its length nor what it holds", () => {
    expect(carried(sequenceOf(float(2), 0))).toEqual(sequenceOf(UNKNOWN));
    expect(carried(float(2))).toEqual(float(2));
  });

  test("the type of a value comes without its name", () => {
    expect(typeOnly({ name: "x", ...sequenceOf(float(2)) } as ValueType)).toEqual(
      sequenceOf(float(2)),
    );
  });
});
