// A page with the picture of a model's skips that needs no server: data, script and styles in one file, and a
// policy that lets it ask nothing of anyone.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { drawPicture, escapeXml } from "../analysis/draw.ts";
import type { Picture } from "../analysis/picture/picture.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import { webFile } from "./files.ts";

/**
 * The page as the text of an HTML file.
 *
 * @throws SkipwayError `environment` where the viewer was not built.
 */
export async function standalonePage(picture: Picture): Promise<string> {
  const [script, styles] = await Promise.all([part("viewer.js"), part("viewer.css")]);
  // `<` cannot end the element in which the data stands: names come from files that nobody checked.
  const data = JSON.stringify(picture).replaceAll("<", "\\u003c");
  // Without script there is the drawing. Its own styles are not allowed by the policy, and not needed.
  const policy = `default-src 'none'; script-src '${hashOf(script)}'; style-src '${hashOf(styles)}'; img-src data:; base-uri 'none'; form-action 'none'`;
  return [
    "<!doctype html>",
    '<html lang="en">',
    "<head>",
    '<meta charset="utf-8">',
    `<meta http-equiv="Content-Security-Policy" content="${policy}">`,
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    '<meta name="color-scheme" content="light dark">',
    '<link rel="icon" href="data:,">',
    `<title>${escapeXml(picture.title)}: skips</title>`,
    `<style>${styles}</style>`,
    "</head>",
    "<body>",
    `<div id="app"></div>`,
    `<noscript><img alt="" src="data:image/svg+xml;base64,${Buffer.from(drawPicture(picture)).toString("base64")}"></noscript>`,
    `<script type="application/json" id="picture">${data}</script>`,
    `<script>${script}</script>`,
    "</body>",
    "</html>",
    "",
  ].join("\n");
}

/** The hash by which a policy allows an element's text (CSP Level 3, section 8.3). */
function hashOf(text: string): string {
  return `sha256-${createHash("sha256").update(text).digest("base64")}`;
}

/** A built file, as the text of an element. */
async function part(name: string): Promise<string> {
  const path = webFile(`viewer/${name}`);
  try {
    const text = (await readFile(path, "utf8")).trim();
    // These would end the element, or hide its end; in literals, where alone they occur, the backslash is ignored.
    return text.replaceAll("</script", "<\\/script").replaceAll("<!--", "<\\!--");
  } catch (cause) {
    const text = `the viewer of pictures is not there (${messageOf(cause)}): build it with npm run build`;
    throw new SkipwayError("environment", text, { cause });
  }
}
