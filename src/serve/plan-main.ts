// The thread that plans the memory of runs, so that the server's own goes on answering: reads a model file, and says
// what its runs take for the shapes that it is asked about. Ended by who started it.

import { stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { parentPort } from "node:worker_threads";
import { messageOf, SkipwayError } from "../base/errors.ts";
import { gatesOf } from "../graph/gates.ts";
import type { Graph } from "../graph/graph.ts";
import { externalLocations } from "../onnx/external-data.ts";
import { loadFile } from "../onnx/read.ts";
import { digestOf, isDigest } from "../registry/digest.ts";
import { RunPlanner } from "./admission/planned.ts";
import type { PlanAnswer, PlanFile, PlanQuestion } from "./plan-worker.ts";
import { tiesOf } from "./ties.ts";

/** Files whose graphs are kept: one is being loaded while another is asked about new shapes. */
const FILES_MAX = 2;

interface Opened {
  readonly graph: Graph;
  readonly externalBytes: number;
  planner: RunPlanner | undefined;
}

const files = new Map<string, Promise<Opened>>();

function opened(file: PlanFile): Promise<Opened> {
  const key = JSON.stringify([file.path, file.digest]);
  const known = files.get(key) ?? read(file);
  files.delete(key);
  files.set(key, known);
  const [oldest] = files.keys();
  if (files.size > FILES_MAX && oldest !== undefined) files.delete(oldest);
  return known;
}

async function read({ path, digest }: PlanFile): Promise<Opened> {
  const { model, bytes } = await loadFile(path);
  // The file may have been exchanged since: its graph says nothing about the model that runs.
  if (isDigest(digest) && digestOf(bytes) !== digest) {
    throw new SkipwayError("input", `${path} is not the file any more that was loaded`);
  }
  let externalBytes = 0;
  for (const location of externalLocations(model)) {
    externalBytes += (await stat(resolve(dirname(path), location))).size;
  }
  return { graph: model.graph, externalBytes, planner: undefined };
}

async function answer(question: PlanQuestion): Promise<PlanAnswer> {
  const file = await opened(question.file);
  if (question.kind === "open") {
    const { graph, externalBytes } = file;
    return { externalBytes, ties: tiesOf(graph), gates: gatesOf(graph) };
  }
  file.planner ??= new RunPlanner(file.graph, question.batched);
  return { runs: file.planner.knots(question.shapes) };
}

// One after the other: a graph is read once, however many shapes of it are asked for.
let turn: Promise<void> = Promise.resolve();
parentPort?.on("message", (question: PlanQuestion) => {
  turn = turn.then(async () => {
    const { id } = question;
    try {
      parentPort?.postMessage({ id, answer: await answer(question) });
    } catch (error) {
      parentPort?.postMessage({ id, fault: messageOf(error) });
    }
  });
});
