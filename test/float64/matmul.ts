// Products of matrices.

import { floatAttribute, intAttribute, stringAttribute } from "../../src/graph/graph.ts";
import {
  type Array64,
  broadcastShapes,
  flatten,
  forEachIndex,
  reshaped,
  sizeOf,
  spread,
  stridesOf,
  transposed,
} from "./array.ts";
import { type Call, type Kernels, operand } from "./kernel.ts";

/** NumPy's matmul: batches broadcast, vectors are rows on the left and columns on the right. */
export function product(a: Array64, b: Array64): Array64 {
  const left = a.shape.length === 1 ? reshaped(a, [1, ...a.shape]) : a;
  const right = b.shape.length === 1 ? reshaped(b, [...b.shape, 1]) : b;
  const [rows = 0, inner = 0] = left.shape.slice(-2);
  const [depth = 0, columns = 0] = right.shape.slice(-2);
  if (inner !== depth) throw new Error(`[${a.shape.join()}] times [${b.shape.join()}]`);
  const batch = broadcastShapes([left.shape.slice(0, -2), right.shape.slice(0, -2)]);
  const wideLeft = spread(left, [...batch, rows, inner]);
  const wideRight = spread(right, [...batch, inner, columns]);
  const count = sizeOf(batch);
  const values = new Float64Array(count * rows * columns);
  for (let n = 0; n < count; n++) {
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        let sum = 0;
        for (let k = 0; k < inner; k++) {
          const l = wideLeft.values[(n * rows + i) * inner + k] ?? Number.NaN;
          const r = wideRight.values[(n * inner + k) * columns + j] ?? Number.NaN;
          sum += l * r;
        }
        values[(n * rows + i) * columns + j] = sum;
      }
    }
  }
  const shape = [
    ...batch,
    ...(a.shape.length === 1 ? [] : [rows]),
    ...(b.shape.length === 1 ? [] : [columns]),
  ];
  return { dtype: a.dtype, shape, values };
}

/** The last two axes exchanged. */
export function swapped(x: Array64): Array64 {
  const rank = x.shape.length;
  const perm = x.shape.map((_, axis) => axis);
  return rank < 2 ? x : transposed(x, [...perm.slice(0, -2), rank - 1, rank - 2]);
}

function scaled(x: Array64, factor: number): Array64 {
  return { ...x, values: x.values.map((v) => v * factor) };
}

function gemm(call: Call): Array64[] {
  const on = (name: string): boolean => intAttribute(call.node, name, 0) !== 0;
  const a = on("transA") ? swapped(operand(call, 0)) : operand(call, 0);
  const b = on("transB") ? swapped(operand(call, 1)) : operand(call, 1);
  const ab = scaled(product(a, b), floatAttribute(call.node, "alpha", 1));
  const [, , c] = call.inputs;
  if (c === undefined) return [ab];
  const beta = floatAttribute(call.node, "beta", 1);
  const wide = spread(c, ab.shape);
  return [{ ...ab, values: ab.values.map((v, i) => v + beta * (wide.values[i] ?? Number.NaN)) }];
}

/** com.microsoft.FusedMatMul: alpha times a product of operands that are transposed first. */
function fusedMatMul(call: Call): Array64[] {
  const side = (x: Array64, trans: string, transBatch: string): Array64 => {
    const rank = x.shape.length;
    // transBatch moves the second axis from the end to the front of the batch (ORT contrib operators).
    const batch = intAttribute(call.node, transBatch, 0) !== 0;
    const middle = x.shape.map((_, i) => i).slice(1, -1);
    const moved = batch ? transposed(x, [...middle, 0, rank - 1]) : x;
    return intAttribute(call.node, trans, 0) !== 0 ? swapped(moved) : moved;
  };
  const a = side(operand(call, 0), "transA", "transBatchA");
  const b = side(operand(call, 1), "transB", "transBatchB");
  return [scaled(product(a, b), floatAttribute(call.node, "alpha", 1))];
}

/** Labels of each operand and of the result; an ellipsis becomes labels of its own. */
function equationOf(call: Call): { readonly operands: string[][]; readonly result: string[] } {
  const equation = stringAttribute(call.node, "equation", "").replaceAll(" ", "");
  const [left = "", right] = equation.split("->");
  const terms = left.split(",");
  const ranks = call.inputs.map((x) => x?.shape.length ?? 0);
  const hidden = terms.map((term, i) =>
    term.includes("...") ? (ranks[i] ?? 0) - (term.length - 3) : 0,
  );
  const widest = Math.max(0, ...hidden);
  const named = (term: string, count: number): string[] => {
    const [head = "", tail = ""] = term.split("...");
    if (!term.includes("...")) return [...term];
    const dots = Array.from({ length: count }, (_, i) => `.${widest - count + i}`);
    return [...head, ...dots, ...tail];
  };
  const operands = terms.map((term, i) => named(term, hidden[i] ?? 0));
  if (right !== undefined) return { operands, result: named(right, widest) };
  const letters = [...left].filter((one) => /[a-zA-Z]/.test(one));
  const once = letters.filter((one) => letters.indexOf(one) === letters.lastIndexOf(one)).sort();
  const dots = Array.from({ length: widest }, (_, i) => `.${i}`);
  return { operands, result: [...dots, ...once] };
}

function einsum(call: Call): Array64[] {
  const { operands, result } = equationOf(call);
  const inputs = call.inputs.map((_, i) => operand(call, i));
  const sizes = new Map<string, number>();
  for (const [i, labels] of operands.entries()) {
    for (const [axis, label] of labels.entries()) {
      const size = inputs[i]?.shape[axis] ?? 1;
      if (size !== 1 || !sizes.has(label)) sizes.set(label, size);
    }
  }
  const labels = [...result, ...[...sizes.keys()].filter((label) => !result.includes(label))];
  const strides = operands.map((own, i) => {
    const steps = stridesOf(inputs[i]?.shape ?? []);
    return labels.map((label) =>
      own.reduce((sum, one, axis) => {
        const spreads = inputs[i]?.shape[axis] === 1 ? 0 : (steps[axis] ?? 0);
        return one === label ? sum + spreads : sum;
      }, 0),
    );
  });
  const shape = result.map((label) => sizes.get(label) ?? 1);
  const out = labels.map((_, i) => (i < shape.length ? (stridesOf(shape)[i] ?? 0) : 0));
  const values = new Float64Array(sizeOf(shape));
  forEachIndex(
    labels.map((label) => sizes.get(label) ?? 1),
    (index) => {
      const term = inputs.reduce(
        (held, x, i) => held * (x.values[flatten(index, strides[i] ?? [])] ?? Number.NaN),
        1,
      );
      const to = flatten(index, out);
      values[to] = (values[to] ?? 0) + term;
    },
  );
  return [{ dtype: inputs[0]?.dtype ?? "float32", shape, values }];
}

/** All ops of this family. */
export const matmul: Kernels = {
  MatMul: (call) => [product(operand(call, 0), operand(call, 1))],
  Gemm: gemm,
  Einsum: einsum,
  "com.microsoft/FusedMatMul": fusedMatMul,
};
