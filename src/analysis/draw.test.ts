import { describe, expect, test } from "vitest";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { GraphBuilder } from "../graph/build.ts";
import type { Graph } from "../graph/graph.ts";
import { starter } from "../nn/models/starter.ts";
import { buildNet } from "../nn/net.ts";
import { census } from "./census.ts";
import { drawPicture, escapeXml } from "./draw.ts";
import { fakePicture } from "./picture/picture.test-helper.ts";
import { pictureOf } from "./picture/picture.ts";
import { XMLParser } from "./xml.test-helper.ts";

function drawingOf(graph: Graph): string {
  const shaped = inferShapes(graph);
  return drawPicture(pictureOf(shaped, census(shaped)));
}

const input = { name: "image", shape: [1, 8, 8] };

describe("the picture", () => {
  test("has an arc for each skip, with its id and what it carries", () => {
    const svg = drawingOf(buildNet(starter({ skips: true }), { input, output: "y", seed: 1 }));
    expect(XMLParser.wellFormed(svg)).toBe(true);
    const arcs = [...svg.matchAll(/data-skip="(s\d+)"/g)].map((found) => found[1]);
    expect(arcs).toEqual(Array.from({ length: 15 }, (_, i) => `s${i + 1}`));
    expect(svg).toContain("4.0 KiB");
    expect(svg).toContain("@media screen and (prefers-color-scheme:dark)");
  });

  test("names from a hostile file cannot leave their place", () => {
    const b = new GraphBuilder();
    const evil = `"><script>alert(1)</script>&\u0000\u001b]]>`;
    b.input(evil, "float32", [2]);
    b.emit("Relu", [evil], { name: `n${evil}`, outputs: [`y${evil}`] });
    b.output({ name: `y${evil}`, dtype: "float32", shape: [2] });
    const svg = drawingOf(b.finish(evil, new Map([["", 20]])));
    expect(XMLParser.wellFormed(svg)).toBe(true);
    expect(svg).not.toContain("<script");
    expect(escapeXml('a\u0001<b>&"c"')).toBe("a&lt;b&gt;&amp;&quot;c&quot;");
  });

  test("an empty graph has a picture too", () => {
    const b = new GraphBuilder();
    b.input("x", "float32", [1]);
    b.output({ name: "x", dtype: "float32", shape: [1] });
    expect(XMLParser.wellFormed(drawingOf(b.finish("empty", new Map([["", 20]]))))).toBe(true);
  });

  test("twenty thousand nodes have a picture of bounded size, however their skips run", () => {
    const count = 20_000;
    const near = Array.from({ length: count - 9 }, (_, i): [number, number] => [i, i + 9]);
    const fan = Array.from({ length: count }, (_, i): [number, number] => [-1, i]);
    for (const spans of [near, fan]) {
      const svg = drawPicture(fakePicture(count, spans));
      const [, width, height] = svg.match(/width="(\d+)" height="(\d+)"/) ?? [];
      expect(Number(width)).toBeLessThanOrEqual(6100);
      expect(Number(height)).toBeLessThanOrEqual(800);
      expect(svg.match(/data-skip/g)).toHaveLength(spans.length);
    }
  });
});
