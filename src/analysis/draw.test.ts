import { describe, expect, test } from "vitest";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { GraphBuilder } from "../graph/build.ts";
import type { Graph } from "../graph/graph.ts";
import { starter } from "../nn/models/starter.ts";
import { buildNet } from "../nn/net.ts";
import { census } from "./census.ts";
import { drawSkips, escapeXml } from "./draw.ts";
import { bindBatch, inferenceMemory } from "./memory.ts";
import { layoutArcs } from "./skips/arcs.ts";
import type { Skip } from "./skips/skip.ts";
import { XMLParser } from "./xml.test-helper.ts";

function pictureOf(graph: Graph): string {
  const shaped = bindBatch(inferShapes(graph), 1);
  return drawSkips(shaped, census(shaped), inferenceMemory(shaped));
}

const input = { name: "image", shape: [1, 8, 8] };

describe("the picture", () => {
  test("has an arc for each skip, with its id and what it carries", () => {
    const svg = pictureOf(buildNet(starter({ skips: true }), { input, output: "y", seed: 1 }));
    expect(XMLParser.wellFormed(svg)).toBe(true);
    const arcs = [...svg.matchAll(/data-skip="(s\d+)"/g)].map((found) => found[1]);
    expect(arcs).toEqual(Array.from({ length: 15 }, (_, i) => `s${i + 1}`));
    expect(svg).toContain("4.0 KiB");
    expect(svg).toContain("prefers-color-scheme:dark");
  });

  test("names from a hostile file cannot leave their place", () => {
    const b = new GraphBuilder();
    const evil = `"><script>alert(1)</script>&\u0000\u001b]]>`;
    b.input(evil, "float32", [2]);
    b.emit("Relu", [evil], { name: `n${evil}`, outputs: [`y${evil}`] });
    b.output({ name: `y${evil}`, dtype: "float32", shape: [2] });
    const svg = pictureOf(b.finish(evil, new Map([["", 20]])));
    expect(XMLParser.wellFormed(svg)).toBe(true);
    expect(svg).not.toContain("<script");
    expect(escapeXml('a\u0001<b>&"c"')).toBe("a&lt;b&gt;&amp;&quot;c&quot;");
  });

  test("an arc stands higher than those inside it", () => {
    const b = new GraphBuilder();
    let x = b.input("x", "float32", [1]);
    for (let i = 0; i < 9; i++)
      x = b.emit("Relu", [x], { name: `n${i}`, outputs: [`v${i}`] }).outputs[0] ?? "";
    const graph = b.finish("g", new Map());
    const skip = (id: string, source: string, merge: string): Skip =>
      ({ id, source, merge }) as unknown as Skip;
    const arcs = layoutArcs(
      graph,
      [skip("outer", "v0", "n8"), skip("inner", "v2", "n5"), skip("side", "v6", "n8")],
      10,
    );
    const height = new Map(arcs.map((arc) => [arc.skip.id, arc.height]));
    expect(height.get("outer") ?? 0).toBeGreaterThan(height.get("inner") ?? 0);
    expect(height.get("outer") ?? 0).toBeGreaterThan(height.get("side") ?? 0);
  });

  test("an empty graph has a picture too", () => {
    const b = new GraphBuilder();
    b.input("x", "float32", [1]);
    b.output({ name: "x", dtype: "float32", shape: [1] });
    expect(XMLParser.wellFormed(pictureOf(b.finish("empty", new Map([["", 20]]))))).toBe(true);
  });
});
