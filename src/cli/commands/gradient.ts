// `skipway gradient MODEL`: the same model with a loss and the gradients of its weights as further outputs.

import { type Command, InvalidArgumentError } from "commander";
import { formatCount } from "../../base/format.ts";
import { printable } from "../../base/printable.ts";
import { tableLines } from "../../base/table.ts";
import { typeOf } from "../../graph/query.ts";
import { formatShape } from "../../graph/shape.ts";
import type { Model } from "../../onnx/model.ts";
import { modelOf } from "../../onnx/onnx-model.ts";
import { loadModel } from "../../onnx/read.ts";
import { copiedWeights } from "../../passes/gradient/copies.ts";
import { type GraphWithGradients, withGradients } from "../../passes/gradient/with-gradients.ts";
import type { Loss } from "../../passes/losses.ts";
import { hasBlockedLayout } from "../../passes/plain-layout.ts";
import { blockSize } from "../../runtime/block-probe.ts";
import type { CommonOptions, Io } from "../io.ts";
import { wholeNumber } from "../options.ts";
import { refuseOverModel } from "../outputs.ts";
import { bar, LiveArea } from "../render/live.ts";

const MODES = ["eval", "train"] as const;
type Mode = (typeof MODES)[number];

const LOSSES = [
  ...(["cross-entropy", "mse", "l1", "huber"] as const),
  ...(["binary-cross-entropy", "kl-divergence", "dice"] as const),
];
type LossName = (typeof LOSSES)[number];

interface GradientCommandOptions extends CommonOptions {
  readonly loss: LossName;
  readonly classAxis?: number;
  readonly wrt?: readonly string[];
  readonly mode: Mode;
  readonly seed: number;
  readonly out: string;
}

/** Higher ranks are no tensors of any runtime. */
const AXIS_MAX = 63;

/** Adds the command. */
export function addGradient(program: Command, io: Io): void {
  program
    .command("gradient")
    .description("the same model with a loss and its gradients as outputs")
    .argument("<model>", "an ONNX file")
    .requiredOption("--out <out>", "where the model with gradients is written")
    .option(
      "--loss <name>",
      `loss of the first output: ${LOSSES.join(", ")}`,
      oneOf(LOSSES),
      "cross-entropy",
    )
    .option(
      "--class-axis <number>",
      "axis of the classes, the last one by default",
      wholeNumber(-AXIS_MAX - 1, AXIS_MAX),
    )
    .option(
      "--wrt <names>",
      'initializers, or patterns such as "encoder.*", with commas between them; or all',
      listOfNames,
    )
    .option(
      "--mode <mode>",
      "eval: running statistics, no dropout; train: those of the batch, and dropout",
      oneOf(MODES),
      "eval",
    )
    .option("--seed <number>", "of what dropout drops", wholeNumber(0, 4_294_967_295), 1)
    .option("--json", "print one JSON document")
    .option("--quiet", "only the result")
    .addHelpText(
      "after",
      "\nExample:\n  $ skipway gradient model.onnx --loss cross-entropy --out model.grad.onnx\n",
    )
    .action((path: string, options: GradientCommandOptions) => run(io, path, options));
}

function oneOf<T extends string>(known: readonly T[]): (text: string) => T {
  return (text) => {
    const found = known.find((one) => one === text);
    if (found !== undefined) return found;
    throw new InvalidArgumentError(`it is one of ${known.join(", ")}`);
  };
}

/** `all` is every weight that the loss depends on. */
function listOfNames(text: string): readonly string[] | undefined {
  if (text === "all") return undefined;
  const names = text.split(",").filter((name) => name !== "");
  if (names.length > 0) return names;
  throw new InvalidArgumentError("it is all, or names with commas between them");
}

async function run(io: Io, path: string, options: GradientCommandOptions): Promise<void> {
  if (options.classAxis !== undefined && !hasClasses(options.loss) && options.quiet !== true) {
    io.err(`${options.loss} has no classes: --class-axis changes nothing\n`);
  }
  const progress = new Progress(io, options.quiet === true);
  const made = await write(path, options, progress).finally(() => progress.end());
  if (options.json === true) {
    io.out(`${JSON.stringify(document(made, options), null, 2)}\n`);
    return;
  }
  for (const line of linesOf(path, made, options, io.outColumns)) io.out(`${line}\n`);
  if (options.quiet !== true) io.err(`with gradients: ${options.out}\n`);
}

/** Reads the model, and writes the one with gradients. */
async function write(
  path: string,
  options: GradientCommandOptions,
  progress: Progress,
): Promise<GraphWithGradients> {
  progress.at(0, "reading");
  const model = await loadModel(path);
  await refuseOverModel("--out", options.out, model);
  progress.at(1, "building gradients");
  const { wrt } = options;
  // A file in the layout of a processor was saved on this machine, or does not run here.
  const block = hasBlockedLayout(model.graph) ? await blockSize() : undefined;
  const made = withGradients(model.graph, {
    loss: lossOf(options),
    mode: options.mode,
    seed: options.seed,
    ...(wrt === undefined ? {} : { wrt }),
    ...(block === undefined ? {} : { block }),
  });
  progress.at(2, "writing");
  await written(model, made).save(options.out);
  return made;
}

function hasClasses(loss: LossName): loss is "cross-entropy" | "kl-divergence" {
  return loss === "cross-entropy" || loss === "kl-divergence";
}

/** Labels of classes go along an axis; other targets have the shape of the output. */
function lossOf({ loss, classAxis }: GradientCommandOptions): Loss {
  if (!hasClasses(loss)) return { kind: loss };
  return classAxis === undefined ? { kind: loss } : { kind: loss, classAxis };
}

/** A new model: what the file says besides is about another graph. Weights stay where they are. */
function written(model: Model, { graph }: GraphWithGradients): Model {
  const { path, producer, irVersion } = model;
  const made = modelOf(graph);
  const parts = { producer, irVersion: Math.max(irVersion, made.irVersion) };
  return modelOf(graph, path === undefined ? parts : { ...parts, path });
}

function document(
  { graph, target, loss, gradients, step }: GraphWithGradients,
  options: GradientCommandOptions,
): Record<string, unknown> {
  const type = typeOf(graph, target);
  return {
    schema: "skipway.gradient/1",
    out: options.out,
    loss: options.loss,
    mode: options.mode,
    opset: graph.opsets.get(""),
    nodes: graph.nodes.length,
    target: { name: target, dtype: type?.dtype, shape: type?.shape },
    lossOutput: loss,
    ...(step === undefined ? {} : { stepInput: step }),
    copies: copiedWeights(graph, gradients.keys()),
    gradients: [...gradients].map(([initializer, output]) => {
      const { dtype, shape } = graph.initializers.get(initializer) ?? {};
      return { initializer, output, dtype, shape };
    }),
  };
}

function linesOf(
  path: string,
  made: GraphWithGradients,
  options: GradientCommandOptions,
  width: number,
): string[] {
  const { graph, gradients } = made;
  const of = typeOf(graph, made.target);
  const fed = `${made.target} ${of?.dtype}${formatShape(of?.shape)}`;
  const rows = [...gradients].map(([name, output]) => {
    const ref = graph.initializers.get(name);
    return [output, `${ref?.dtype}${formatShape(ref?.shape)}`];
  });
  const count = [...gradients.keys()].reduce((sum, name) => sum + sizeOf(made, name), 0);
  const head = `${path}: gradients of ${options.loss} (${options.mode}) for ${formatCount(count)} parameters in ${gradients.size} weights`;
  const columns = [{ title: "output", flexible: true }, { title: "type" }];
  return [
    printable(head),
    printable(`further input: ${fed}`),
    ...(made.step === undefined
      ? []
      : [`optional input: ${made.step} int64[], 0 if it is not fed`]),
    ...copiedWeights(graph, gradients.keys()).map(({ weight, of, transposed }) =>
      printable(
        `${weight} holds the numbers of ${of}${transposed ? ", transposed" : ""}: the gradient of both is the sum`,
      ),
    ),
    ...tableLines(columns, [[made.loss, `${typeOf(graph, made.loss)?.dtype}[]`], ...rows], width),
  ];
}

function sizeOf({ graph }: GraphWithGradients, name: string): number {
  return (graph.initializers.get(name)?.shape ?? []).reduce((product, dim) => product * dim, 1);
}

/** Work that is done sooner shows no progress. */
const PATIENCE_MS = 2000;
const STAGES = 3;
const BAR_WIDTH = 24;

/** A bar for work that takes long. */
class Progress {
  readonly #area: LiveArea;
  readonly #timer: NodeJS.Timeout;
  #line = "";
  #shown = false;

  constructor(io: Io, quiet: boolean) {
    this.#area = new LiveArea(io);
    this.#timer = setTimeout(() => {
      this.#shown = !quiet;
      this.#draw();
    }, PATIENCE_MS);
  }

  /** A stage begins. */
  at(stage: number, what: string): void {
    this.#line = `${bar(stage / STAGES, BAR_WIDTH)} ${what}`;
    this.#draw();
  }

  #draw(): void {
    if (this.#shown) this.#area.set([this.#line]);
  }

  /** Ends it, whether the work was done or not. */
  end(): void {
    clearTimeout(this.#timer);
    if (this.#shown) this.#area.set([]);
    this.#area.done();
  }
}
