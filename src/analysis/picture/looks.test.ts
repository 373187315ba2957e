import { expect, test } from "vitest";
import { LOOKS } from "./looks.ts";

/** Relative luminance of a colour that lies on paper with an opacity (WCAG 2.2, relative luminance). */
function luminance(colour: string, paper: string, opacity: number): number {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const part = (text: string): number => Number.parseInt(text.slice(at, at + 2), 16) / 255;
    const mixed = opacity * part(colour) + (1 - opacity) * part(paper);
    return mixed <= 0.04045 ? mixed / 12.92 : ((mixed + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * (red ?? 0) + 0.7152 * (green ?? 0) + 0.0722 * (blue ?? 0);
}

test("kinds stand out from their paper, and no two have the same dashes", () => {
  const looks = Object.values(LOOKS);
  for (const { light, dark } of looks) {
    for (const [colour, paper] of [
      [light, "#ffffff"],
      [dark, "#0d1117"],
    ] as const) {
      const two = [luminance(colour, paper, 0.88), luminance(paper, paper, 1)];
      expect((Math.max(...two) + 0.05) / (Math.min(...two) + 0.05)).toBeGreaterThan(3);
    }
  }
  expect(new Set(looks.map(({ dash }) => dash)).size).toBe(looks.length);
});
