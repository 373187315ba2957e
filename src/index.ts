// The front page: the few names with which everything begins. Subpaths carry the rest.

import * as nn from "./nn/index.ts";

export { census } from "./analysis/census.ts";
export { lint } from "./analysis/lint.ts";
export type {
  Census,
  Gamma,
  ProjectionLayer,
  Recurrence,
  Skip,
  SkipCounts,
  SkipKind,
} from "./analysis/skips/skip.ts";
export type { Diagnostic, Severity } from "./base/diagnostic.ts";
export { SkipwayError } from "./base/errors.ts";
export type { Attribute, Graph, Node, Value, ValueName } from "./graph/graph.ts";
export { type ParseOptions, parseGraph } from "./graph/parse.ts";
export { type PrintOptions, printGraph } from "./graph/print.ts";
export { float32, float32Values, int64, int64Values, type Tensor } from "./graph/tensor.ts";
export type { Model, SaveOptions } from "./onnx/model.ts";
export { modelOf, withExternalData } from "./onnx/onnx-model.ts";
export { loadModel } from "./onnx/read.ts";
export { verify } from "./ops/verify.ts";
export {
  type GradientOptions,
  type GraphWithGradients,
  withGradients,
} from "./passes/gradient/with-gradients.ts";
export type { Loss } from "./passes/losses.ts";
export { type ExportForm, type ExportOptions, exportModel } from "./runtime/export.ts";
export { inProcessRunner } from "./runtime/in-process.ts";
export { firstNonFinite, type NonFinite, type TensorRange } from "./runtime/non-finite.ts";
export type { Runner, Session, Tensors } from "./runtime/runner.ts";
export { type Dataset, datasets } from "./train/data.ts";
export { type TrainingRun, type TrainOptions, train } from "./train/train.ts";
export { nn };
