import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Browser, Locator, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { census } from "../../src/analysis/census.ts";
import { fakePicture } from "../../src/analysis/picture/picture.test-helper.ts";
import { type Picture, pictureOf } from "../../src/analysis/picture/picture.ts";
import { inferShapes } from "../../src/canonical/infer-shapes.ts";
import { standalonePage } from "../../src/dashboard/standalone.ts";
import { zoo } from "../../src/nn/models/index.ts";
import { buildNet } from "../../src/nn/net.ts";
import { launchBrowser } from "./chromium.ts";

// The viewer of pictures in a real browser, opened from a file, with DenseNet-121.

let folder = "";
let file = "";
let browser: Browser;
let page: Page;
let noise: string[] = [];
let asked = "";

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-picture-"));
  const model = zoo["densenet121"];
  if (model === undefined) throw new Error("the zoo has no DenseNet-121");
  const net = buildNet(model.build(), { input: model.input, output: "y", seed: 1 });
  const graph = inferShapes(net);
  file = await written("densenet", pictureOf(graph, census(graph), "densenet121"));
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser.close();
  await rm(folder, { recursive: true });
});
beforeEach(async () => {
  page = await browser.newPage({ viewport: { width: 1240, height: 900 } });
  page.on("console", (message) => noise.push(message.text()));
  page.on("pageerror", (error) => noise.push(error.message));
  page.on("request", (request) => request.url() !== asked && noise.push(request.url()));
  await open(file);
});
afterEach(() => page.close());

async function written(name: string, picture: Picture): Promise<string> {
  const path = join(folder, `${name}.html`);
  await writeFile(path, await standalonePage(picture));
  return pathToFileURL(path).href;
}

async function open(address: string): Promise<void> {
  noise = [];
  asked = address;
  await page.goto(address);
  await page.locator(".drawing").waitFor();
}

const arcs = (): Locator => page.locator(".stage [data-skip]");
const details = (): Promise<string> => page.locator(".details").innerText();
const style = (selector: string, name: string): Promise<string> =>
  page
    .locator(selector)
    .first()
    .evaluate((element, property) => getComputedStyle(element).getPropertyValue(property), name);

async function keys(...names: readonly string[]): Promise<void> {
  await page.locator(".stage").focus();
  for (const name of names) await page.keyboard.press(name);
  await drawn();
}

/** What was changed is in the page after a frame; one more, in case that it was drawn just then. */
async function drawn(): Promise<void> {
  await page.evaluate(async () => {
    for (let i = 0; i < 2; i++) await new Promise((resolve) => requestAnimationFrame(resolve));
  });
}

describe("the viewer", () => {
  test("opens from a file without a request, folded, with every skip drawn", async () => {
    expect(await arcs().count()).toBe(58);
    expect(await page.locator(".folded").count()).toBe(4);
    expect(await page.getByRole("option", { name: /^s6 concat: .* 2.7 MiB/ }).count()).toBe(1);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    expect(wide).toBeLessThanOrEqual(1240);
    expect(noise).toEqual([]);
  });

  test("pointing at an arc tells what it carries; leaving it lets go", async () => {
    await page.locator('[data-skip="5"] .easy').hover();
    expect(await details()).toContain("s6 concat");
    expect(await details()).toContain("dense1.layer6.merge");
    expect(await details()).toMatch(/2\.7 MiB while \d+ nodes run/);
    expect(await page.locator(".lit-memory").count()).toBe(1);
    await page.mouse.move(5, 5);
    expect(await page.locator(".lit").count()).toBe(0);
  });

  test("pointing at the band tells who is alive because of whom", async () => {
    const peak = await page.locator(".peak").boundingBox();
    if (peak === null) throw new Error("no peak");
    await page.mouse.move(peak.x, peak.y + peak.height - 8);
    expect(await details()).toContain("the peak");
    await page.mouse.down();
    await page.mouse.up();
    await page.getByRole("button", { name: /s6 alone, until dense1.layer6.merge/ }).click();
    expect(await details()).toContain("carries");
  });

  test("arrow keys go from skip to skip, and assistive software hears which", async () => {
    await keys("ArrowRight", "ArrowRight");
    expect(await details()).toContain("s2 concat");
    const id = await page.locator(".stage").getAttribute("aria-activedescendant");
    const option = page.locator(`#${id}`);
    expect(await option.getAttribute("aria-label")).toContain("s2 concat");
    expect(await option.getAttribute("aria-selected")).toBe("true");
    await keys("ArrowLeft");
    expect(await page.locator('[aria-selected="true"]').count()).toBe(1);
    await keys("End");
    expect(await details()).toContain("s58 concat");
    await keys("m", "ArrowLeft");
    expect(await page.locator(".moment").count()).toBe(1);
    await keys("Escape");
    expect(await page.locator(".lit").count()).toBe(0);
    expect(noise).toEqual([]);
  });

  test("blocks fold and unfold by key, click and button; no skip is ever hidden", async () => {
    const first = page.getByRole("button", { name: /6 × dense1.layer1/ });
    expect(await first.getAttribute("aria-expanded")).toBe("false");
    await keys("ArrowRight", "Enter");
    expect(await first.getAttribute("aria-expanded")).toBe("true");
    expect(await arcs().count()).toBe(58);
    await keys("Enter");
    expect(await first.getAttribute("aria-expanded")).toBe("false");
    await page
      .locator(".folded rect")
      .nth(1)
      .click({ position: { x: 20, y: 12 } });
    expect(await page.locator(".folded").count()).toBe(3);
    await page.getByRole("button", { name: "Unfold all" }).click();
    expect(await page.locator(".folded").count()).toBe(0);
    expect(await arcs().count()).toBe(58);
    await page.getByRole("button", { name: "Fold repeated blocks" }).click();
    expect(await page.locator(".folded").count()).toBe(4);
  });

  test("a search finds a node in a folded block, opens that and shows it", async () => {
    await keys("/");
    await page.keyboard.type("dense3.layer24.merge");
    expect(await page.getByRole("status").innerText()).toMatch(/^\d+ found$/);
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("Enter");
    expect(await details()).toContain("dense3.layer24.merge");
    const block = page.getByRole("button", { name: /24 × dense3/ });
    expect(await block.getAttribute("aria-expanded")).toBe("true");
    await page.keyboard.press("ArrowRight");
    expect(await details()).toContain("dense4.layer1.merge");
    await keys("/");
    await page.keyboard.type("nowhere");
    expect(await page.getByRole("status").innerText()).toBe("nothing found");
    await page.keyboard.press("Escape");
    expect(await page.locator(".hits").isVisible()).toBe(false);
  });

  test("comes nearer by key, the chosen skip staying in sight", async () => {
    await keys("End", "+", "+", "+");
    const width = await page.locator(".drawing").evaluate((svg) => svg.clientWidth);
    expect(width).toBeGreaterThan(3000);
    await keys("ArrowLeft");
    // The picture scrolls once the key's effect is drawn.
    const left = async (): Promise<number> =>
      (await page.locator(".lit .skip").boundingBox())?.x ?? -1;
    await expect.poll(left).toBeLessThan(1240);
    expect(await left()).toBeGreaterThan(0);
  });

  test("follows dark mode; prints on light paper, without tools", async () => {
    expect(await style(".ground .skip", "stroke")).toBe("rgb(109, 40, 217)");
    await page.emulateMedia({ colorScheme: "dark" });
    expect(await style(".ground .skip", "stroke")).toBe("rgb(196, 181, 253)");
    expect(await style("body", "background-color")).toBe("rgb(13, 17, 23)");
    await page.emulateMedia({ colorScheme: "dark", media: "print" });
    expect(await style(".ground .skip", "stroke")).toBe("rgb(109, 40, 217)");
    expect(await style("body", "background-color")).toBe("rgb(255, 255, 255)");
    expect(await page.locator(".tools").isVisible()).toBe(false);
    expect(await arcs().count()).toBe(58);
  });
});

describe("pictures of hostile models", () => {
  test("says how much of the memory is not known", async () => {
    const picture = fakePicture(3, [[0, 2]]);
    await open(await written("unknown", { ...picture, memory: { ...picture.memory, unknown: 4 } }));
    expect(await page.locator(".kinds").textContent()).toMatch(/4 values of unknown size left out/);
    await open(await written("known", picture));
    expect(await page.locator(".kinds").textContent()).not.toMatch(/unknown/);
  });

  test("names with markup are text", async () => {
    const evil = `</script><script>document.title="gone"</script><img src=x onerror="document.title='gone'">`;
    const plain = fakePicture(12, [[0, 5]]);
    const nodes = plain.nodes.map((node) => ({ ...node, name: evil, op: evil }));
    const skips = plain.skips.map((skip) => ({ ...skip, source: evil, merge: evil }));
    await open(await written("evil", { ...plain, title: `${evil}!`, nodes, skips }));
    await keys("ArrowRight");
    expect(await details()).toContain("onerror");
    expect(await page.title()).toContain("<img");
    expect(await page.locator("img").count()).toBe(0);
    expect(noise).toEqual([]);
  });

  test("no node at all, and twenty thousand of them with five thousand skips", async () => {
    await open(await written("empty", fakePicture(0, [])));
    await keys("ArrowRight", "Enter", "m", "+");
    const spans = Array.from({ length: 5000 }, (_, i): [number, number] => [i * 4 - 1, i * 4 + 3]);
    const ops = Array.from({ length: 7 }, (_, i) => `Op${i}`);
    await open(await written("large", fakePicture(20_000, spans, ops)));
    expect(await arcs().count()).toBe(5000);
    await keys("End", "+", "ArrowLeft");
    expect(await details()).toContain("s4999 identity");
    expect(noise).toEqual([]);
  });
});

test("moving over the picture keeps up with the screen: the frames are printed", async () => {
  await page.getByRole("button", { name: "Unfold all" }).click();
  const box = await page.locator(".drawing").boundingBox();
  if (box === null) throw new Error("no drawing");
  await page.evaluate(() => {
    const times: number[] = [];
    Object.assign(globalThis, { times });
    const tick = (time: number): void => {
      times.push(time);
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  });
  const y = box.y + box.height - 60;
  for (let i = 0; i < 120; i++) {
    await page.mouse.move(60 + i * 9, i % 2 === 0 ? y : box.y + 30);
  }
  const gaps = await page.evaluate(() => {
    const times: readonly number[] = Reflect.get(globalThis, "times");
    return times.slice(1).map((time, i) => time - (times[i] ?? 0));
  });
  const slow = gaps.filter((gap) => gap > 34).length;
  process.stdout.write(`${gaps.length} frames while moving, ${slow} of them late\n`);
  expect(gaps.length).toBeGreaterThan(0);
});
