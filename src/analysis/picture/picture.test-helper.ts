// Pictures for tests, without a network behind them.

import { blocksOf, stagesOf } from "./blocks.ts";
import type { Picture, PictureNode, PictureSkip } from "./picture.ts";

/** A picture of so many nodes with identity skips between the places given; ops repeat from the first span on. */
export function fakePicture(
  count: number,
  spans: readonly (readonly [number, number])[],
  ops: readonly string[] = ["Conv"],
): Picture {
  const start = (spans[0]?.[0] ?? -1) + 1;
  const nodes = Array.from({ length: count }, (_, i): PictureNode => {
    const op = ops[(i - start + ops.length * count) % ops.length] ?? "Conv";
    return { name: `n${i}`, op, role: /Conv|MatMul/.test(op) ? "transform" : "other" };
  });
  const skips = spans.map(
    ([from, to], i): PictureSkip => ({
      id: `s${i + 1}`,
      kind: "identity",
      block: "additive",
      source: `v${from}`,
      merge: `n${to}`,
      span: to - from,
      activation: "none",
      norm: "none",
      encoderDecoder: false,
      from,
      to,
      bytes: 64,
      atPeak: false,
      alone: null,
      main: [],
      shortcut: [],
      hazards: [],
    }),
  );
  const none = { concat: 0, gated: 0, encoderDecoder: 0, conditional: 0, recurrent: 0 };
  const counts = { ...none, additiveProjection: 0, multiStream: 0 };
  return {
    schema: "skipway.picture/1",
    title: "fake",
    batch: 1,
    sizes: {},
    counts: { ...counts, total: skips.length, additiveIdentity: skips.length },
    denseLinks: 0,
    input: "x",
    output: "y",
    nodes,
    skips,
    blocks: blocksOf(nodes, skips),
    stages: stagesOf(nodes),
    memory: {
      peakBytes: 64,
      peakAt: 0,
      bytes: nodes.map(() => 64),
      skipBytes: nodes.map(() => 0),
      unknown: 0,
      storages: [],
    },
  };
}
