// Cases of products of matrices.

import { float, int } from "../../../src/graph/graph.ts";
import { between, type Generator, type Generators, omitted, turn, x } from "../case.ts";

const matMul: Generator = (random, variant) => {
  const [m = 1, k = 1, n = 1, b = 1, c = 1] = Array.from({ length: 5 }, () =>
    between(random, 1, 4),
  );
  const { form, left, right } = turn(variant, [
    { form: "matrices", left: [m, k], right: [k, n] },
    { form: "batch", left: [b, m, k], right: [b, k, n] },
    { form: "batch on the left", left: [b, c, m, k], right: [k, n] },
    { form: "batch on the right", left: [m, k], right: [b, k, n] },
    { form: "batches spread over each other", left: [b, 1, m, k], right: [c, k, n] },
    { form: "batch of one", left: [1, m, k], right: [b, k, n] },
    { form: "vectors", left: [k], right: [k] },
    { form: "vector on the left", left: [k], right: [k, n] },
    { form: "vector on the right", left: [m, k], right: [k] },
    { form: "vector and batch", left: [k], right: [b, c, k, n] },
    { form: "batch and vector", left: [b, m, k], right: [k] },
    { form: "no rows", left: [0, k], right: [k, n] },
    { form: "nothing between", left: [m, 0], right: [0, n] },
    { form: "empty batch", left: [0, m, k], right: [k, n] },
  ]);
  return { op: "MatMul", form, inputs: [x(left), x(right)] };
};

const gemm: Generator = (random, variant) => {
  const [m = 1, k = 1, n = 1] = Array.from({ length: 3 }, () => between(random, 1, 5));
  const [transA, transB] = [variant % 2, Math.floor(variant / 2) % 2];
  const bias = turn(variant, ["none", "row", "column", "scalar", "matrix"] as const);
  const shapes = { none: [], row: [n], column: [m, 1], scalar: [], matrix: [m, n] };
  return {
    op: "Gemm",
    form: `${transA ? "Aᵀ" : "A"}${transB ? "Bᵀ" : "B"}, bias ${bias}`,
    inputs: [
      x(transA ? [k, m] : [m, k]),
      x(transB ? [n, k] : [k, n]),
      bias === "none" ? omitted : x(shapes[bias]),
    ],
    attributes: {
      transA: int(transA),
      transB: int(transB),
      ...(variant % 3 !== 0 && { alpha: float(0.5), beta: float(-2) }),
    },
  };
};

/** All of this family. */
export const matmul: Generators = { MatMul: matMul, Gemm: gemm };
