// Colour on terminals that want it.

import { styleText } from "node:util";

/** The styles in use. */
export type Style = "bold" | "dim" | "red" | "green" | "yellow" | "blue" | "magenta" | "cyan";

/** Text in a style, or plain. */
export function styled(style: Style, text: string, color: boolean): string {
  return color ? styleText(style, text, { validateStream: false }) : text;
}
