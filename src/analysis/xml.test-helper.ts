// Whether a text is well-formed XML of the simple kind that we write: elements nest, attributes are
// quoted, no stray markup. For tests.

/** Checks of XML texts. */
export const XMLParser: { readonly wellFormed: (text: string) => boolean } = {
  wellFormed(text: string): boolean {
    const open: string[] = [];
    const token = /<(\/?)([A-Za-z][\w-]*)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>|([^<]+)/gy;
    let end = 0;
    for (let found = token.exec(text); found !== null; found = token.exec(text)) {
      end = token.lastIndex;
      const [, closing, name = "", , selfClosing, content] = found;
      if (content !== undefined) {
        const style = open.at(-1) === "style";
        if (!style && /&(?!(?:amp|lt|gt|quot|#\d+);)/.test(content)) return false;
        if ([...content].some((c) => c < " " && c !== "\n" && c !== "\t")) return false;
      } else if (closing === "/") {
        if (open.pop() !== name) return false;
      } else if (selfClosing !== "/") {
        open.push(name);
      }
    }
    return end === text.length && open.length === 0;
  },
};
