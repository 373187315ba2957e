// What a training run is refused for before it starts: a network, a data set and a batch that do not fit.

import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import type { Graph } from "../graph/graph.ts";
import type { Dataset, Examples } from "./data.ts";

/** @throws SkipwayError `input` with a finding for each fault. */
export function checkFit(graph: Graph, data: Dataset, batch: number): void {
  const found = [
    ...classesOf(graph, data),
    ...batchOf(data, batch),
    ...examplesOf(data, "train"),
    ...examplesOf(data, "holdout"),
  ];
  if (found.length > 0) throw SkipwayError.fromDiagnostics("input", found);
}

function classesOf(graph: Graph, data: Dataset): Diagnostic[] {
  const shape = graph.outputs[0]?.shape;
  if (shape?.length === 2 && shape[1] === data.classes) return [];
  return [
    diagnostic({
      id: "train/classes",
      severity: "error",
      where: "network output",
      text: `has shape [${shape?.join(",") ?? "?"}]; ${data.name} has ${data.classes} classes, so [N,${data.classes}] is needed`,
      fix: `End the network with nn.globalPool() and nn.dense(${data.classes}).`,
    }),
  ];
}

function batchOf(data: Dataset, batch: number): Diagnostic[] {
  if (Number.isInteger(batch) && batch >= 1 && batch <= data.train.count) return [];
  return [
    diagnostic({
      id: "train/batch",
      severity: "error",
      where: "option batch",
      text: `is ${batch}; ${data.name} has ${data.train.count} examples to train on`,
      fix: `Choose a whole number from 1 to ${data.train.count}.`,
    }),
  ];
}

function examplesOf(data: Dataset, part: "train" | "holdout"): Diagnostic[] {
  const examples = data[part];
  const where = `${data.name}, ${part}`;
  return [...inputsOf(examples, data, where), ...labelsOf(examples, data, where)];
}

function inputsOf({ inputs, count }: Examples, data: Dataset, where: string): Diagnostic[] {
  const size = data.input.shape.reduce((a, b) => a * b, 1);
  if (inputs instanceof Float32Array && inputs.length === count * size) return [];
  const type = inputs instanceof Float32Array ? `${inputs.length} numbers` : "no Float32Array";
  return [
    diagnostic({
      id: "train/inputs",
      severity: "error",
      where,
      text: `its inputs are ${type}; ${count} examples of [${data.input.shape}] are a Float32Array of ${count * size}`,
      fix: "Give one example after another, row by row, as float32.",
    }),
  ];
}

function labelsOf({ labels, count }: Examples, data: Dataset, where: string): Diagnostic[] {
  if (!(labels instanceof Uint8Array) || labels.length !== count) {
    const type = labels instanceof Uint8Array ? `${labels.length} labels` : "no Uint8Array";
    return [
      diagnostic({
        id: "train/labels",
        severity: "error",
        where,
        text: `its labels are ${type}; ${count} examples have a Uint8Array of ${count}`,
        fix: "Give the number of the class of each example.",
      }),
    ];
  }
  const first = labels.findIndex((label) => label >= data.classes);
  if (first < 0) return [];
  const wrong = labels.reduce((sum, label) => sum + Number(label >= data.classes), 0);
  return [
    diagnostic({
      id: "train/labels",
      severity: "error",
      where: `${where}, example ${first}`,
      text: `has the label ${labels[first]}; there are ${data.classes} classes, so labels are 0 to ${data.classes - 1}`,
      notes: wrong === 1 ? [] : [`${wrong} examples have such labels`],
      fix: "Count classes from 0, or say how many there are.",
    }),
  ];
}
