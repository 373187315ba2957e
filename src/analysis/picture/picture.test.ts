import { describe, expect, test } from "vitest";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import type { Graph } from "../../graph/graph.ts";
import { parseGraph } from "../../graph/parse.ts";
import { usesOf } from "../../graph/query.ts";
import { zoo } from "../../nn/models/index.ts";
import { buildNet } from "../../nn/net.ts";
import { census } from "../census.ts";
import { bindBatch } from "../memory.ts";
import { Sketch } from "../sketch.test-helper.ts";
import { type Picture, pictureOf } from "./picture.ts";

function drawn(graph: Graph): Picture {
  const shaped = inferShapes(graph);
  return pictureOf(shaped, census(shaped));
}

function network(name: string): Graph {
  const small = zoo[name]?.small;
  if (small === undefined) throw new Error(`no small ${name}`);
  return buildNet(small.build(), { input: small.input, output: "y", seed: 1 });
}

describe.each(["starter", "unet", "densenet121", "vit-b-16"])("the picture of %s", (name) => {
  const graph = network(name);
  const picture = drawn(graph);
  const run = bindBatch(inferShapes(graph), 1);

  test("has the nodes that run, and every skip between the right two", () => {
    expect(picture.nodes.map((node) => node.name)).toEqual(run.nodes.map((node) => node.name));
    expect(picture.skips).toHaveLength(picture.counts.total);
    for (const { from, to, source, merge } of picture.skips) {
      expect(picture.nodes[to]).toMatchObject({ name: merge, role: "merge" });
      const made = run.nodes.findIndex((node) => node.outputs.includes(source));
      expect(from).toBe(made);
    }
  });

  test("adds up: what is alive at each moment is what the band shows", () => {
    const { memory, skips } = picture;
    for (const [place, bytes] of memory.bytes.entries()) {
      const alive = memory.storages.filter(({ from, until }) => from <= place && place <= until);
      expect(alive.reduce((sum, one) => sum + one.bytes, 0)).toBe(bytes);
      const held = alive.filter((one) =>
        one.skips.some((i) => {
          const [from, until] = skips[i]?.alone ?? [1, 0];
          return from <= place && place <= until;
        }),
      );
      expect(held.reduce((sum, one) => sum + one.bytes, 0)).toBe(memory.skipBytes[place]);
    }
    expect(memory.bytes[memory.peakAt]).toBe(memory.peakBytes);
    expect(Math.max(...memory.skipBytes)).toBeGreaterThan(0);
  });

  test("memory is held for a skip alone where nobody else reads its source any more", () => {
    for (const { source, merge, shortcut, alone } of picture.skips) {
      if (alone === null) continue;
      const readers = usesOf(run, source).map(({ node }) => run.nodes.indexOf(node));
      const late = readers.filter((reader) => reader >= alone[0]).map((i) => run.nodes[i]?.name);
      for (const reader of late) expect([merge, ...shortcut]).toContain(reader);
    }
  });
});

test("a skip in the body of a loop stands at the loop", () => {
  const weights = Array.from({ length: 16 }, () => 0).join(", ");
  const loop = parseGraph(`<ir_version: 10, opset_import: ["" : 20]>
    g (float[2,4] h0) => (float[] h)
    <int64 trips = {3}, float[4,4] w = {${weights}}>
    {
      before = Relu (h0)
      h = Loop (trips, "", before) <
        body = body (int64 i, bool go, float[2,4] in) => (bool go2, float[2,4] out)
        { go2 = Identity (go)  f = MatMul (in, w)  out = Add (in, f) }>
    }`);
  const { nodes, skips } = drawn(loop);
  const at = nodes.findIndex(({ op }) => op === "Loop");
  expect(skips.map(({ kind, to }) => [kind, to])).toEqual([["recurrent", at]]);
});

test("what has no shape has no size", () => {
  const s = new Sketch(["?", "?", "?", "?"]);
  const y = s.op("Relu", s.x);
  const picture = drawn(s.end(s.op("Add", s.op("Relu", s.op("Neg", y)), y)));
  for (const { bytes } of picture.skips) expect(bytes).toBeNull();
  expect(picture.memory.unknown).toBeGreaterThan(0);
});

test("a graph without nodes has a picture", () => {
  const s = new Sketch();
  expect(drawn(s.end(s.x))).toMatchObject({ nodes: [], skips: [], blocks: [], stages: [] });
});
