// How each kind of skip looks: told apart by colour, dash pattern and name, so that colour is never alone.

import type { SkipKind } from "../skips/skip.ts";

/** Colours for light and dark paper, and the dash pattern of the line. */
export interface Look {
  readonly light: string;
  readonly dark: string;
  readonly dash: string;
}

/** By kind. On their paper, and translucent as arcs are, all have a contrast above 3 (WCAG 2.2, 1.4.11). */
export const LOOKS: Readonly<Record<SkipKind, Look>> = {
  identity: { light: "#1f6feb", dark: "#79b8ff", dash: "" },
  projection: { light: "#c2410c", dark: "#ffab70", dash: "7 3" },
  pooled: { light: "#0e7490", dark: "#67e8f9", dash: "2 3" },
  padded: { light: "#4d7c0f", dark: "#bef264", dash: "9 3 2 3" },
  resampled: { light: "#9d174d", dark: "#f9a8d4", dash: "5 2 1 2" },
  concat: { light: "#6d28d9", dark: "#c4b5fd", dash: "12 3" },
  gated: { light: "#a16207", dark: "#fde047", dash: "3 2" },
  conditional: { light: "#b91c1c", dark: "#fca5a5", dash: "1 3" },
  recurrent: { light: "#334155", dark: "#cbd5e1", dash: "6 6" },
  "multi-stream": { light: "#0f766e", dark: "#5eead4", dash: "8 2 8 6" },
};

/** Rules for elements of the classes `k-KIND`: the dash pattern, and the colour as `--kind`. */
export function kindStyles(paper: "light" | "dark"): string {
  const rules = Object.entries(LOOKS).map(([kind, look]) => {
    const dash = paper === "light" && look.dash !== "" ? `;stroke-dasharray:${look.dash}` : "";
    return `.k-${kind}{stroke:${look[paper]}${dash}}`;
  });
  return rules.join("");
}
