import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Timeline, timelineLines } from "./timeline.ts";

const timeline = (bytes: readonly number[], more: Partial<Timeline> = {}): Timeline => ({
  bytes,
  skipBytes: bytes.map(() => 0),
  peakAt: bytes.indexOf(Math.max(...bytes)),
  peakNode: "merge",
  peakSkips: [],
  ...more,
});

describe("memory over time", () => {
  const bytes = [64, 128, 192, 256, 256, 128, 64, 32];
  const skipBytes = [0, 0, 0, 64, 64, 64, 0, 0];

  test("is an area with the part for skips, and its peak has a name", () => {
    const one = timeline(bytes, { skipBytes, peakSkips: ["s1", "s2"] });
    expect(timelineLines(one, { width: 40, unicode: true })).toMatchInlineSnapshot(`
      [
        "                     ▼ merge: s1, s2",
        "256 B ┤             ████████",
        "      │             ████████",
        "      │         ████████████",
        "      │         ████████████",
        "128 B ┤     ████████████████████",
        "      │     ████████████████████",
        "      │█████████████▒▒▒▒▒▒▒▒▒▒▒▒████",
        "      │█████████████▒▒▒▒▒▒▒▒▒▒▒▒████████",
        "  0 B └─────────────────────────────────",
        "       ▒ alive for skips alone · 8 node…",
      ]
    `);
  });

  test("in ASCII where the terminal has no more", () => {
    const one = timeline(bytes, { skipBytes, peakSkips: ["s1", "s2"] });
    const lines = timelineLines(one, { width: 40, unicode: false });
    expect(lines.join("")).toMatch(/^[ -~]*$/);
    expect(lines).toMatchInlineSnapshot(`
      [
        "                     v merge: s1, s2",
        "256 B +             ########",
        "      |             ########",
        "      |         ############",
        "      |         ############",
        "128 B +     ####################",
        "      |     ####################",
        "      |#############::::::::::::####",
        "      |#############::::::::::::########",
        "  0 B +---------------------------------",
        "       : alive for skips alone; 8 nodes~",
      ]
    `);
  });

  test("has twelve rows at most, none wider than the terminal, whatever the numbers and names", () => {
    const values = fc.array(fc.nat(1e9), { minLength: 1, maxLength: 300 });
    const name = fc.string({ unit: fc.constantFrom("a", "/", "\u001b", "→"), maxLength: 80 });
    fc.assert(
      fc.property(values, name, fc.integer({ min: 24, max: 120 }), (all, peakNode, width) => {
        const one = timeline(all, {
          peakNode,
          skipBytes: all.map((n) => n / 2),
          peakSkips: ["s1"],
        });
        for (const unicode of [true, false]) {
          const lines = timelineLines(one, { width, unicode });
          expect(lines.length).toBeLessThanOrEqual(12);
          for (const line of lines) expect(line.length).toBeLessThanOrEqual(width);
          expect(lines.join("")).not.toContain("\u001b");
        }
      }),
    );
  });

  test("a single large node among thousands is seen, under its mark", () => {
    const all = new Array<number>(5000).fill(1);
    all[4321] = 1000;
    const [mark = "", top = ""] = timelineLines(timeline(all), { width: 80, unicode: true });
    expect(top.indexOf("█")).toBe(mark.indexOf("▼"));
    expect(mark.indexOf("▼")).toBeGreaterThan(0);
  });

  test("nothing to plot is no plot", () => {
    expect(timelineLines(timeline([]), { width: 80, unicode: true })).toEqual([]);
    expect(timelineLines(timeline([0, 0]), { width: 80, unicode: true })).toEqual([]);
  });
});
