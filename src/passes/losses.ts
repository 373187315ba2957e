// Losses as additions to a graph, by the formulas of PyTorch (torch.nn.functional, which each option names),
// as the mean over all elements or labels unless the sum is asked for.

import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { isComputedFloat } from "../graph/dtype.ts";
import { int, string, type ValueName, type ValueType } from "../graph/graph.ts";
import { normalizeAxis, type Shape } from "../graph/shape.ts";
import { scalarOf, vectorOf } from "../graph/tensor.ts";
import {
  castLike,
  countAlong,
  reduce,
  scalarLike,
  shapeConstant,
  transpose,
} from "../ops/construct.ts";
import type { Emitter } from "../ops/op.ts";

/** Mean or sum over what the loss is of; `mean` if left out. Of no elements it is 0 in ONNX Runtime (PyTorch: NaN). */
export type Reduction = "mean" | "sum";

/** A loss of scores of classes and the numbers of the right ones (`cross_entropy`). */
export interface CrossEntropy {
  readonly kind: "cross-entropy";
  /** Axis of the classes in the scores; the last one if left out. Labels have the other axes. */
  readonly classAxis?: number;
  /** From 0 to 1: so much of the target is spread evenly over all classes. */
  readonly labelSmoothing?: number;
  /** Labels of this value count for nothing. A mean over no label at all is 0/0 = NaN, as PyTorch's. */
  readonly ignoreIndex?: number;
  /** One weight for each class; the mean is then weighted. */
  readonly classWeights?: readonly number[];
  readonly reduction?: Reduction;
}

/**
 * A loss of logits and probabilities of the same shape, each for itself
 * (`binary_cross_entropy_with_logits`).
 */
export interface BinaryCrossEntropy {
  readonly kind: "binary-cross-entropy";
  /** Weights of the positive answers, along the last axis or one for all. */
  readonly positiveWeight?: readonly number[];
  readonly reduction?: Reduction;
}

/** A loss of numbers and numbers of the same shape: `mse_loss`, `l1_loss`. */
export interface Difference {
  readonly kind: "mse" | "l1";
  readonly reduction?: Reduction;
}

/** Squares up to `delta`, straight lines beyond (`huber_loss`). */
export interface Huber {
  readonly kind: "huber";
  /** 1 if left out. */
  readonly delta?: number;
  readonly reduction?: Reduction;
}

/**
 * Distillation (Hinton et al. 2015): T² · KL(softmax(target / T) ‖ softmax(scores / T)), where the target
 * holds the teacher's scores. The mean is over all distributions (`kl_div` with batchmean for a matrix).
 */
export interface Distillation {
  readonly kind: "kl-divergence";
  readonly classAxis?: number;
  /** 1 if left out. */
  readonly temperature?: number;
  readonly reduction?: Reduction;
}

/**
 * 1 - (2·Σ p·t + s) / (Σ p + Σ t + s) with p = sigmoid(scores), each sum over one image: what the overlap of
 * a segmentation lacks (Milletari et al. 2016, without the squares).
 */
export interface Dice {
  readonly kind: "dice";
  /** s: keeps empty images from 0/0; 1 if left out. */
  readonly smooth?: number;
  readonly reduction?: Reduction;
}

/** A loss of one output of a graph and a target. */
export type Loss = CrossEntropy | BinaryCrossEntropy | Difference | Huber | Distillation | Dice;

/**
 * What the target of a loss must be: int64 labels without the axis of classes, or a tensor like the scores.
 *
 * @throws SkipwayError `input` for scores that the loss is not defined for.
 */
export function targetType(scores: ValueName, type: ValueType | undefined, loss: Loss): ValueType {
  const { dtype, shape } = floatTensor(scores, type);
  if (loss.kind !== "cross-entropy") return { dtype, shape };
  const axis = axisOfClasses(scores, shape, loss.classAxis);
  return { dtype: "int64", shape: shape.toSpliced(axis, 1) };
}

/**
 * Appends the nodes of a loss and gives the scalar that holds it, in the type of the scores.
 *
 * @param name of the node that computes the last step
 */
export function appendLoss(
  e: Emitter,
  loss: Loss,
  { scores, target, name }: { scores: ValueName; target: ValueName; name: ValueName },
): ValueName {
  const { shape } = floatTensor(scores, e.typeOf(scores));
  const writer = new Writer(e, scores, shape, name);
  switch (loss.kind) {
    case "cross-entropy":
      return writer.crossEntropy(target, loss);
    case "binary-cross-entropy":
      return writer.reduced(writer.logistic(target, loss), loss.reduction);
    case "mse":
      return writer.reduced(writer.square(writer.sub(scores, target)), loss.reduction);
    case "l1":
      return writer.reduced(e.emit("Abs", [writer.sub(scores, target)]), loss.reduction);
    case "huber":
      return writer.reduced(writer.huber(target, loss.delta ?? 1), loss.reduction);
    case "kl-divergence":
      return writer.distillation(target, loss);
    case "dice":
      return writer.reduced(writer.dice(target, loss.smooth ?? 1), loss.reduction);
  }
}

/** More than classes are counted to; int32 has it too. */
const NO_CLASS = 2 ** 31 - 1;

/** Writes nodes about one value of scores. */
class Writer {
  readonly #e: Emitter;
  readonly #x: ValueName;
  readonly #shape: Shape;
  readonly #name: ValueName;

  constructor(e: Emitter, scores: ValueName, shape: Shape, name: ValueName) {
    this.#e = e;
    this.#x = scores;
    this.#shape = shape;
    this.#name = name;
  }

  sub(a: ValueName, b: ValueName): ValueName {
    return this.#e.emit("Sub", [a, b]);
  }

  square(a: ValueName): ValueName {
    return this.#e.emit("Mul", [a, a]);
  }

  /** The mean or sum over all elements. */
  reduced(x: ValueName, reduction: Reduction = "mean"): ValueName {
    return this.#e.emit(reduction === "mean" ? "ReduceMean" : "ReduceSum", [x], {
      attributes: { keepdims: int(0) },
      ...this.#result(),
    });
  }

  crossEntropy(target: ValueName, loss: CrossEntropy): ValueName {
    const axis = axisOfClasses(this.#x, this.#shape, loss.classAxis);
    const scores = this.#rows(this.#x, axis);
    const labels = this.#fromZero(target, loss.ignoreIndex);
    const weights = loss.classWeights && this.#vector(loss.classWeights);
    const smoothing = loss.labelSmoothing ?? 0;
    const plain = smoothing === 0;
    const reduction = loss.reduction ?? "mean";
    const ignored = loss.ignoreIndex;
    const attributes = {
      reduction: string(reduction),
      ...(ignored === undefined ? {} : { ignore_index: int(ignored) }),
    };
    const inputs = [scores, labels, ...(weights === undefined ? [] : [weights])];
    const options = plain ? { attributes, ...this.#result() } : { attributes };
    const [right = ""] = this.#e.emitAll("SoftmaxCrossEntropyLoss", inputs, {
      ...options,
      ...(plain ? {} : { name: `${this.#name}.labels` }),
    });
    if (plain) return right;
    const spread = this.#spreadEvenly(scores, labels, { weights, ignored, reduction });
    const count = this.#shape[axis];
    const classes =
      typeof count === "number"
        ? this.#number(smoothing / count)
        : this.#e.emit("Div", [this.#number(smoothing), countAlong(this.#e, scores, [1], scores)]);
    const first = this.#e.emit("Mul", [right, this.#number(1 - smoothing)]);
    return this.#e.emit("Add", [first, this.#e.emit("Mul", [spread, classes])], this.#result());
  }

  /**
   * The labels as a list. A negative one, which kernels would count from the last class back, is one that no
   * class has, which they refuse as they do others that are too large.
   */
  #fromZero(target: ValueName, ignored: number | undefined): ValueName {
    const e = this.#e;
    const constant = (value: number): ValueName => e.constant(scalarOf("int64", value), "label");
    const labels = e.emit("Reshape", [target, shapeConstant(e, [-1])]);
    const below = e.emit("Less", [labels, constant(0)]);
    const kept =
      ignored !== undefined && ignored < 0 ? e.emit("Equal", [labels, constant(ignored)]) : "";
    const wrong = kept === "" ? below : e.emit("And", [below, e.emit("Not", [kept])]);
    return e.emit("Where", [wrong, constant(NO_CLASS), labels]);
  }

  /** -Σ w·log p over all classes, of the labels that count; its mean as that of the right classes. */
  #spreadEvenly(
    scores: ValueName,
    labels: ValueName,
    how: { weights: ValueName | undefined; ignored: number | undefined; reduction: Reduction },
  ): ValueName {
    const e = this.#e;
    const log = e.emit("LogSoftmax", [scores], { attributes: { axis: int(1) } });
    const weighted = how.weights === undefined ? log : e.emit("Mul", [log, how.weights]);
    const each = e.emit("Neg", [reduce(e, "ReduceSum", weighted, [1], false)]);
    const counts = this.#countsOf(labels, how);
    const all = this.#sum(e.emit("Mul", [each, counts.used]));
    return how.reduction === "sum" ? all : e.emit("Div", [all, this.#sum(counts.weight)]);
  }

  /** Of each label: 1 or 0 for one that is ignored, and that times the weight of its class. */
  #countsOf(
    labels: ValueName,
    { weights, ignored }: { weights: ValueName | undefined; ignored: number | undefined },
  ): { used: ValueName; weight: ValueName } {
    const e = this.#e;
    const value = e.constant(scalarOf("int64", ignored ?? 0), "ignored");
    const skipped = e.emit("Equal", [labels, value]);
    const used =
      ignored === undefined
        ? e.emit("Expand", [this.#number(1), e.emit("Shape", [labels])])
        : castLike(e, e.emit("Not", [skipped]), this.#x);
    if (weights === undefined) return { used, weight: used };
    // An ignored label may lie outside the classes: it is looked up as class 0, and counts nothing.
    const zero = e.constant(scalarOf("int64", 0), "class");
    const safe = ignored === undefined ? labels : e.emit("Where", [skipped, zero, labels]);
    return { used, weight: e.emit("Mul", [e.emit("Gather", [weights, safe]), used]) };
  }

  /** (1 - t)·x + (1 + (w - 1)·t)·softplus(-x), which no large number upsets. */
  logistic(target: ValueName, { positiveWeight }: BinaryCrossEntropy): ValueName {
    const e = this.#e;
    const one = this.#number(1);
    const soft = this.#negativeLogSigmoid();
    const other = e.emit("Mul", [e.emit("Sub", [one, target]), this.#x]);
    if (positiveWeight === undefined) return e.emit("Add", [other, soft]);
    const above = this.#vector(positiveWeight.map((weight) => weight - 1));
    const weight = e.emit("Add", [e.emit("Mul", [above, target]), one]);
    return e.emit("Add", [other, e.emit("Mul", [weight, soft])]);
  }

  /** softplus(-x). ONNX Runtime 1.30 has no Softplus of float64, where the logarithm ends at x = -700. */
  #negativeLogSigmoid(): ValueName {
    const e = this.#e;
    if (e.typeOf(this.#x)?.dtype !== "float64")
      return e.emit("Softplus", [e.emit("Neg", [this.#x])]);
    return e.emit("Neg", [e.emit("Log", [e.emit("Sigmoid", [this.#x])])]);
  }

  /** c·(|d| - c/2) with c = min(|d|, δ). */
  huber(target: ValueName, delta: number): ValueName {
    const e = this.#e;
    const size = e.emit("Abs", [this.sub(this.#x, target)]);
    const bounded = e.emit("Min", [size, this.#number(delta)]);
    const half = e.emit("Mul", [bounded, this.#number(0.5)]);
    return e.emit("Mul", [bounded, this.sub(size, half)]);
  }

  /** A class of probability 0 at the teacher adds nothing: softmax(t)·log softmax(t) ends at 0 there. */
  distillation(target: ValueName, loss: Distillation): ValueName {
    const e = this.#e;
    const axis = axisOfClasses(this.#x, this.#shape, loss.classAxis);
    const temperature = loss.temperature ?? 1;
    const along = { attributes: { axis: int(axis) } };
    const cooled = (x: ValueName): ValueName =>
      temperature === 1 ? x : e.emit("Div", [x, this.#number(temperature)]);
    const student = e.emit("LogSoftmax", [cooled(this.#x)], along);
    const teacher = e.emit("LogSoftmax", [cooled(target)], along);
    const share = e.emit("Exp", [teacher]);
    const terms = e.emit("Mul", [share, this.sub(teacher, student)]);
    const each = reduce(e, "ReduceSum", terms, [axis], false);
    const scaled = e.emit("Mul", [each, this.#number(temperature ** 2)]);
    return this.reduced(scaled, loss.reduction);
  }

  /** One number for each image. */
  dice(target: ValueName, smooth: number): ValueName {
    const e = this.#e;
    const flat = (x: ValueName): ValueName =>
      e.emit("Flatten", [x], { attributes: { axis: int(1) } });
    const sum = (x: ValueName): ValueName => reduce(e, "ReduceSum", x, [1], false);
    const p = flat(e.emit("Sigmoid", [this.#x]));
    const t = flat(target);
    const s = this.#number(smooth);
    const overlap = e.emit("Mul", [sum(e.emit("Mul", [p, t])), this.#number(2)]);
    const whole = e.emit("Add", [e.emit("Add", [sum(p), sum(t)]), s]);
    return this.sub(this.#number(1), e.emit("Div", [e.emit("Add", [overlap, s]), whole]));
  }

  /** The scores as a matrix with a row for each label. */
  #rows(scores: ValueName, axis: number): ValueName {
    const e = this.#e;
    const rank = this.#shape.length;
    if (rank === 2 && axis === 1) return scores;
    const others = this.#shape.flatMap((_, i) => (i === axis ? [] : [i]));
    const last = axis === rank - 1 ? scores : transpose(e, scores, [...others, axis]);
    const classes = this.#shape[axis];
    if (typeof classes === "number") {
      return e.emit("Reshape", [last, shapeConstant(e, [-1, classes])]);
    }
    return e.emit("Flatten", [last], { attributes: { axis: int(rank - 1) } });
  }

  #sum(x: ValueName): ValueName {
    return this.#e.emit("ReduceSum", [x], { attributes: { keepdims: int(0) } });
  }

  #number(value: number): ValueName {
    return scalarLike(this.#e, this.#x, value);
  }

  #vector(values: readonly number[]): ValueName {
    const dtype = this.#e.typeOf(this.#x)?.dtype ?? "float32";
    return this.#e.constant(vectorOf(dtype, values), `${this.#name}.weights`);
  }

  #result(): { name: string; outputs: readonly ValueName[] } {
    return { name: this.#name, outputs: [this.#name] };
  }
}

function floatTensor(
  scores: ValueName,
  type: ValueType | undefined,
): { dtype: ValueType["dtype"]; shape: Shape } {
  const where = `value "${scores}"`;
  if (type?.container !== undefined)
    throw refused(where, `is a ${type.container.kind}, and losses are of tensors`);
  if (type !== undefined && !isComputedFloat(type.dtype))
    throw refused(where, `holds ${type.dtype}, and losses are of floats of 16 bits or more`);
  if (type?.shape === undefined)
    throw refused(
      where,
      "has a rank that is not known",
      "Declare the shapes of the model's inputs.",
    );
  return { dtype: type.dtype, shape: type.shape };
}

function axisOfClasses(scores: ValueName, shape: Shape, given = -1): number {
  const axis = normalizeAxis(given, shape.length);
  if (axis !== undefined) return axis;
  throw refused(
    `value "${scores}"`,
    `has ${shape.length} axes, and the classes are to lie along axis ${given}`,
    "Give the axis along which the classes lie, from 0 or from the end.",
  );
}

function refused(where: string, text: string, fix?: string): SkipwayError {
  const fields = { id: "loss/scores", severity: "error" as const, where, text };
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({ ...fields, fix: fix ?? "Choose an output that holds scores." }),
  ]);
}
