// Text that somebody else wrote, on a terminal. A name in a model file may hold the codes by which
// programs move the cursor, set the title or turn the direction of writing: here they are only shown.

/** Controls, line separators, and the marks that change the direction of text (Unicode 15, UAX 44). */
const ACTIVE = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu;

/** The text with every character that does something written out, such as `\u{1b}`. */
export function printable(text: string): string {
  return text.replaceAll(ACTIVE, (found) => `\\u{${found.codePointAt(0)?.toString(16)}}`);
}
