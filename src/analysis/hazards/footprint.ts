// Skips and outputs that hold memory, and channels that pile up.

import { diagnostic } from "../../base/diagnostic.ts";
import { formatBytes } from "../../base/format.ts";
import type { Node, ValueName } from "../../graph/graph.ts";
import { indexOf, typeOf } from "../../graph/query.ts";
import { valueBytes } from "../../ops/rules.ts";
import { roleOf } from "../skips/vocabulary.ts";
import type { Merging } from "./nodes.ts";
import type { Rule } from "./rule.ts";

/** Shares of the memory peak from which on it is worth telling. */
const SKIP_SHARE = 0.2;
const OUTPUT_SHARE = 0.05;
/** Layers on the main path: the blocks of residual networks have two or three. */
const LONG_SPAN = 5;
/** A bottleneck has 4 times as many channels as its layer adds (Huang et al. 2017, DenseNet-B, section 3). */
const BOTTLENECK = 4;
/** Fewer such layers are the start of a block, where there is little to read. */
const WIDE_LAYERS_MIN = 3;

/** A skip over many layers that alone holds a good part of the peak, as the outer ones of a U-Net do. */
export const longSkip: Rule = {
  id: "memory/long-skip",
  title: "a long skip holds a good part of the memory peak",
  check: ({ skips, memory, peak }) =>
    skips.flatMap(({ skip, where }) => {
      const { bytes, span, aliveOnlyForSkip: alone } = skip;
      if (bytes === undefined || alone === undefined || !peak.holdsSource(skip)) return [];
      if (span < LONG_SPAN || bytes < SKIP_SHARE * memory.peakBytes) return [];
      return [
        {
          ...diagnostic({
            id: "memory/long-skip",
            severity: "info",
            where,
            text: `${skip.source} takes ${formatBytes(bytes)} of the peak of ${formatBytes(memory.peakBytes)} over ${span} layers, for this skip alone`,
            notes: [`Alive for it from ${alone.from} to ${alone.until}.`],
            fix: "Narrow it with a 1x1 convolution before it waits, carry it in half precision, or branch off at a lower resolution.",
          }),
          skip: skip.id,
        },
      ];
    }),
};

/** Activations that are outputs although the model goes on with them. */
export const innerOutputs: Rule = {
  id: "memory/inner-output",
  title: "an inner activation is an output too",
  check: ({ run, memory }) => {
    const { producers, uses, inputs } = indexOf(run);
    const found = run.outputs
      .map(({ name }) => name)
      .filter((name) => uses.has(name) && !isCache(producers.get(name), inputs));
    const bytes = found.reduce((total, name) => total + (valueBytes(typeOf(run, name)) ?? 0), 0);
    const [first] = found;
    if (first === undefined || bytes < OUTPUT_SHARE * memory.peakBytes) return [];
    return [
      diagnostic({
        id: "memory/inner-output",
        severity: "info",
        where: `output ${first}`,
        text: `outputs that the model reads itself (${found.length}, ${formatBytes(bytes)}) stay alive to the end of the run, and no op can be fused across them`,
        fix: "Remove the outputs that no client asks for.",
      }),
    ];
  },
};

/** Ops that put something new into what was there. */
const LENGTHENS = new Set(["Concat", "ScatterND", "ScatterElements", "TensorScatter"]);

/** A cache that a client hands in and gets back longer, as language models have. */
function isCache(node: Node | undefined, inputs: ReadonlyMap<ValueName, unknown>): boolean {
  // An input that is an output as well is handed through.
  if (node === undefined) return true;
  return LENGTHENS.has(node.op) && node.inputs.some((name) => inputs.has(name));
}

/** Dense blocks whose wide layers read all that is there with a large kernel. */
export const denseGrowth: Rule = {
  id: "memory/dense-growth",
  title: "layers of a dense block read all channels without a bottleneck",
  check: ({ skips }) => {
    const wide = skips
      .filter(({ found }) => found.block === "dense")
      .flatMap(({ found, where, merging }) =>
        wideLayers(merging, found.mergeOutput).map((one) => ({ where, ...one })),
      );
    const [worst] = wide.toSorted((a, b) => b.reads - a.reads);
    if (worst === undefined || wide.length < WIDE_LAYERS_MIN) return [];
    return [
      diagnostic({
        id: "memory/dense-growth",
        severity: "warning",
        where: worst.where,
        text: `${wide.length} layers read more than ${BOTTLENECK} times the channels that they give, with kernels above 1x1; this one ${worst.reads} for ${worst.gives}`,
        fix: `Put a 1x1 convolution to ${BOTTLENECK} times the growth in front of each, and one that halves the channels behind the block.`,
      }),
    ];
  },
};

interface Layer {
  readonly reads: number;
  readonly gives: number;
}

/** The convolutions that take a value up, behind norms and activations, if they are as wide as that. */
function wideLayers({ flow, graph }: Merging, value: ValueName): Layer[] {
  const layers: Layer[] = [];
  const seen = new Set<ValueName>();
  const open = [value];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    if (seen.has(name)) continue;
    seen.add(name);
    for (const { node } of flow.index.uses.get(name) ?? []) {
      const role = roleOf(node, flow.activationInputs(node).length);
      if (role === "nonlinear" || role === "norm" || node.op === "BatchNormalization") {
        open.push(...node.outputs.slice(0, 1));
      }
      const [gives, reads, ...kernel] = graph.initializers.get(node.inputs[1] ?? "")?.shape ?? [];
      if (node.op !== "Conv" || gives === undefined || reads === undefined) continue;
      if (reads > BOTTLENECK * gives && kernel.some((size) => size > 1)) {
        layers.push({ reads, gives });
      }
    }
  }
  return layers;
}
