// One measurement of `picture.bench.ts` in a process of its own. Prints milliseconds.

import { existsSync, statSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { census } from "../dist/analysis/census.js";
import { drawPicture } from "../dist/analysis/draw.js";
import { pictureOf } from "../dist/analysis/picture/picture.js";
import { inferShapes } from "../dist/canonical/infer-shapes.js";
import { standalonePage } from "../dist/dashboard/standalone.js";
import { GraphBuilder } from "../dist/graph/build.js";
import { float32 } from "../dist/graph/tensor.js";
import * as nn from "../dist/nn/index.js";

const CHROMIUM = [
  process.env.CHROMIUM ?? "",
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
].find((path) => path !== "" && existsSync(path));

/** Blocks of four nodes; tangled ones take their shortcut from up to 400 nodes before. */
function graphOf(shape, count) {
  const b = new GraphBuilder();
  let last = b.input("x", "float32", [1, 8, 4, 4]);
  const made = [last];
  const kernel = float32([8, 8, 1, 1], new Float32Array(64));
  for (let i = 0; i < count / 4; i++) {
    const weight = b.initializer(`block${i}.weight`, kernel);
    const conv = b.emit("Conv", [last, weight], { name: `block${i}.conv` }).outputs[0];
    const relu = b.emit("Relu", [conv], { name: `block${i}.relu` }).outputs[0];
    const from = shape === "blocks" ? last : made[Math.max(0, i - ((i * 37) % 100))];
    const add = b.emit("Add", [from, relu], { name: `block${i}.add` }).outputs[0];
    last = b.emit("Relu", [add], { name: `block${i}.out` }).outputs[0];
    made.push(last);
  }
  b.output({ name: last, dtype: "float32", shape: [1, 8, 4, 4] });
  return inferShapes(b.finish("stack", new Map([["", 20]])));
}

function draw(shape, count) {
  const graph = graphOf(shape, Number(count));
  const found = census(graph);
  const from = performance.now();
  const picture = pictureOf(graph, found);
  const known = performance.now();
  const svg = drawPicture(picture);
  const drawn = performance.now();
  return {
    skips: found.skips.length,
    factsMs: known - from,
    layoutAndDrawMs: drawn - known,
    totalMs: drawn - from,
    svgBytes: svg.length,
  };
}

async function open(path, rounds) {
  const { chromium } = await import("playwright-core");
  const input = { name: "image", shape: [3, 224, 224] };
  const graph = inferShapes(nn.buildNet(nn.densenet(121), { input, output: "y", seed: 1 }));
  writeFileSync(path, await standalonePage(pictureOf(graph, census(graph), "densenet121")));
  const args = ["--headless", "--no-sandbox", "--disable-gpu"];
  const browser = await chromium.launch({ executablePath: CHROMIUM, args });
  const [opened, painted] = [[], []];
  for (let round = 0; round < Number(rounds); round++) {
    const page = await browser.newPage({ viewport: { width: 1240, height: 900 } });
    const from = performance.now();
    await page.goto(pathToFileURL(path).href);
    await page.locator('.stage [data-skip="57"]').waitFor();
    opened.push(performance.now() - from);
    const paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime";
    painted.push(Number(await page.evaluate(paint)));
    await page.close();
  }
  await browser.close();
  const middle = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];
  const pageBytes = statSync(path).size;
  return {
    n: opened.length,
    openMs: middle(opened),
    slowestMs: Math.max(...opened),
    paintMs: middle(painted),
    pageBytes,
  };
}

const [what, ...rest] = process.argv.slice(2);
const measured = what === "draw" ? draw(...rest) : await open(...rest);
process.stdout.write(JSON.stringify(measured));
