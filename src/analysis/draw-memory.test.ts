import { describe, expect, test } from "vitest";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { GraphBuilder } from "../graph/build.ts";
import { starter } from "../nn/models/starter.ts";
import { buildNet } from "../nn/net.ts";
import { census } from "./census.ts";
import { drawMemory } from "./draw-memory.ts";
import { fakePicture } from "./picture/picture.test-helper.ts";
import { pictureOf } from "./picture/picture.ts";
import { XMLParser } from "./xml.test-helper.ts";

describe("the band by itself", () => {
  test("is as high at each node as bytes are alive, and names what stands at the peak", () => {
    const input = { name: "image", shape: [1, 8, 8] };
    const graph = inferShapes(buildNet(starter({ skips: true }), { input, output: "y", seed: 1 }));
    const picture = pictureOf(graph, census(graph));
    const svg = drawMemory(picture, ["s1", "s2"]);
    expect(XMLParser.wellFormed(svg)).toBe(true);
    const path = svg.match(/class="memory" d="M[\d.]+ 340([^"]*)H[\d.]+V340Z"/)?.[1] ?? "";
    const heights = [...path.matchAll(/V([\d.]+)/g)].map((found) => 340 - Number(found[1]));
    const { bytes, peakBytes, peakAt } = picture.memory;
    expect(heights).toHaveLength(bytes.length);
    for (const [i, height] of heights.entries()) {
      expect(Math.abs(height - (240 * (bytes[i] ?? 0)) / peakBytes)).toBeLessThanOrEqual(0.051);
    }
    expect(svg).toContain(`at ${picture.nodes[peakAt]?.name}`);
    expect(svg).toContain("◆ s1, s2");
    // Each node says what is alive while it runs.
    expect(svg.match(/<rect [^>]*><title>[^<]* \(\w+\): /g)).toHaveLength(bytes.length);
  });

  test("names from a hostile file cannot leave their place, and an empty graph has one too", () => {
    const evil = `"><script>alert(1)</script>&\u0000\u001b]]>`;
    const b = new GraphBuilder();
    b.input(evil, "float32", [2]);
    b.emit("Relu", [evil], { name: `n${evil}`, outputs: [`y${evil}`] });
    b.output({ name: `y${evil}`, dtype: "float32", shape: [2] });
    const graph = inferShapes(b.finish(evil, new Map([["", 20]])));
    const svg = drawMemory(pictureOf(graph, census(graph)), [evil]);
    expect(XMLParser.wellFormed(svg)).toBe(true);
    expect(svg).not.toContain("<script");
    expect(XMLParser.wellFormed(drawMemory(fakePicture(0, []), []))).toBe(true);
  });

  test("twenty thousand nodes have one of bounded size", () => {
    const svg = drawMemory(fakePicture(20_000, [[1, 19_000]]), ["s1"]);
    expect(Number(svg.match(/width="(\d+)"/)?.[1])).toBeLessThanOrEqual(6100);
    expect(svg.length).toBeLessThan(1_000_000);
  });
});
