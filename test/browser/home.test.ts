import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Running, skipway } from "../cli.ts";
import { affineModel } from "../models.ts";
import { launchBrowser } from "./chromium.ts";

// The home page in a real browser, in front of the real server with a model that was trained just now.

let folder = "";
let server: Running;
let at = "";
let browser: Browser;
let page: Page;
let noise: string[] = [];

async function start(args: readonly string[] = []): Promise<[Running, string]> {
  const running = new Running([
    "up",
    ...args,
    "--data",
    join(folder, "data"),
    ...["--epochs", "3", "--seed", "4"],
    "--port",
    new URL(at || "http://x:0").port || "0",
  ]);
  const address = (await running.says(/(http:\/\/127\.0\.0\.1:\d+) {2}dashboard/))[1] ?? "";
  return [running, address];
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-browser-"));
  browser = await launchBrowser();
  [server, at] = await start();
});
afterAll(async () => {
  server.kill("SIGTERM");
  await Promise.all([browser.close(), server.done]);
  await rm(folder, { recursive: true });
});
beforeEach(async () => {
  noise = [];
  page = await browser.newPage({ viewport: { width: 1240, height: 1300 } });
  page.on("console", (message) => message.type() === "error" && noise.push(message.text()));
  page.on("pageerror", (error) => noise.push(error.message));
  page.on(
    "request",
    (request) =>
      !request.url().startsWith(at) &&
      !request.url().startsWith("data:") &&
      noise.push(request.url()),
  );
  await page.goto(at);
  await page.getByText("ready", { exact: true }).waitFor();
  await page.waitForFunction(() => {
    const shown = document.querySelector("object");
    return shown !== null && shown.getBoundingClientRect().width > 400;
  });
});
afterEach(() => page.close());

/** The text of the number with this name. */
async function fact(name: string): Promise<string> {
  return (
    await page
      .locator("dl.numbers div", { has: page.getByText(name, { exact: true }) })
      .locator("dd")
      .innerText()
  ).trim();
}

describe("the home page", () => {
  test("shows what is served, the picture of its skips and both training curves", async () => {
    await page.getByText("15 skip connections").waitFor();
    expect(await page.locator("header").innerText()).toContain("version 1 · stable");
    const svg = await (await fetch(`${at}/api/v1/models/digits/versions/1/picture.svg`)).text();
    expect(svg.match(/data-skip/g)).toHaveLength(15);
    await page.locator(".uplot canvas").waitFor();
    const label = await page
      .getByRole("img", { name: /Training loss by epoch/ })
      .getAttribute("aria-label");
    const [, withSkips = "9", without = "0"] =
      label?.match(/ends at ([\d.]+) with skips and at ([\d.]+) without/) ?? [];
    expect(Number(without)).toBeGreaterThan(2 * Number(withSkips));
    for (const rule of ["shapes", "memory", "golden", "accuracy"]) {
      expect(await page.getByRole("row", { name: new RegExp(`^${rule} passed`) }).count()).toBe(1);
    }
    expect(noise).toEqual([]);
  });

  test("leads to the page of the version, whose skips one can look around in", async () => {
    await page.getByRole("link", { name: "look around in it" }).click();
    await page.locator(".drawing").waitFor();
    expect(new URL(page.url()).pathname).toBe("/models/digits/1");
    expect(await page.getByRole("option").count()).toBe(15);
    await page.locator(".stage").focus();
    await page.keyboard.press("ArrowRight");
    expect(await page.locator(".details").innerText()).toContain("s1 identity");
    expect(noise).toEqual([]);
    await page.goto(`${at}/models/digits/99`);
    await page.getByText("There is no picture of this version.").waitFor();
  });

  test("live numbers move when requests come; a quantile of few is unknown, with its n", async () => {
    expect(await fact("P99")).toMatch(/^unknown\s+n = \d+$/);
    const before = Number(await fact("Requests"));
    const inputs = [
      { name: "image", shape: [1, 1, 8, 8], datatype: "FP32", data: new Array(64).fill(0) },
    ];
    for (let i = 0; i < 30; i++) {
      await (
        await fetch(`${at}/v2/models/digits/infer`, {
          method: "POST",
          body: JSON.stringify({ inputs }),
        })
      ).text();
    }
    await (await fetch(`${at}/v2/models/digits/infer`, { method: "POST", body: "{" })).text();
    await page.waitForFunction(
      (count) => document.body.innerText.includes(`Requests\n${count}`),
      before + 30,
    );
    expect(await fact("P50")).toMatch(/^[\d.]+ ms\s+n = \d+$/);
    expect(await fact("Failures")).toMatch(/\d+ invalid/);
    expect(await fact("Memory of its process")).toMatch(/MiB$/);
  });

  test("a drawn digit goes through the real endpoint and comes back classified", async () => {
    const box = await page.locator("canvas.pad").boundingBox();
    if (box === null) throw new Error("the pad is not shown");
    const asked = page.waitForRequest(`${at}/v2/models/digits/versions/1/infer`);
    const turn = (i: number): [number, number] => [
      box.x + 100 + 42 * Math.cos((i / 24) * 2 * Math.PI),
      box.y + 100 + 62 * Math.sin((i / 24) * 2 * Math.PI),
    ];
    await page.mouse.move(...turn(0));
    await page.mouse.down();
    for (let i = 1; i <= 24; i++) await page.mouse.move(...turn(i));
    await page.mouse.up();
    const { inputs } = (await asked).postDataJSON() as { inputs: { data: number[] }[] };
    expect(inputs[0]?.data).toHaveLength(64);
    await page.waitForFunction(
      () => document.querySelector("[data-testid=answer]")?.textContent === "0",
    );
    await page.getByRole("button", { name: "Clear" }).click();
    expect(await page.getByTestId("answer").innerText()).toBe("–");
    expect(noise).toEqual([]);
  });

  test("the examples need no pointer, and most are classified right", async () => {
    let right = 0;
    const buttons = await page.getByRole("button", { name: /a handwritten \d/ }).all();
    expect(buttons).toHaveLength(20);
    for (const button of buttons) {
      const label = (await button.getAttribute("aria-label"))?.at(-1);
      const answered = page.waitForResponse(/infer$/);
      await button.focus();
      await page.keyboard.press("Enter");
      await answered;
      await page.waitForTimeout(50);
      if ((await page.getByTestId("answer").innerText()) === label) right++;
    }
    expect(right).toBeGreaterThanOrEqual(16);
  });

  test("fits a narrow screen and follows dark mode", async () => {
    const narrow = await browser.newPage({
      viewport: { width: 390, height: 800 },
      colorScheme: "dark",
    });
    await narrow.goto(at);
    await narrow.getByText("15 skip connections").waitFor();
    await narrow.locator(".uplot canvas").waitFor();
    await narrow.locator(".examples button").last().waitFor();
    const { wide, paper } = await narrow.evaluate(() => ({
      wide: document.documentElement.scrollWidth,
      paper: getComputedStyle(document.body).backgroundColor,
    }));
    expect(wide).toBeLessThanOrEqual(390);
    expect(paper).toBe("rgb(13, 17, 23)");
    await narrow.close();
  });

  test("says when the server is gone, and finds it again", async () => {
    server.kill("SIGTERM");
    await server.done;
    await page.getByText("disconnected", { exact: true }).waitFor();
    [server] = await start();
    await page.getByText("ready", { exact: true }).waitFor({ timeout: 30_000 });
  });

  test("a model that is no digit classifier gets a request to copy instead of a pad", async () => {
    const file = join(folder, "affine.onnx");
    await writeFile(file, affineModel());
    const other = new Running(["up", file, "--data", join(folder, "other"), "--port", "0"]);
    const address = (await other.says(/(http:\/\/127\.0\.0\.1:\d+) {2}dashboard/))[1] ?? "";
    const visit = await browser.newPage();
    await visit.goto(address);
    const shown = await visit.locator("pre code").innerText();
    expect(shown).toContain(`curl -s ${address}/v2/models/affine/infer`);
    expect(shown).toContain('"shape":[1,3]');
    expect(await visit.locator("canvas.pad").count()).toBe(0);
    await visit.close();
    other.kill("SIGTERM");
    await other.done;
  });
});

test("the page's JavaScript is at most 120 KB compressed; the first paint is printed", async () => {
  const assets = await readdir("dist/web/assets");
  let total = 0;
  for (const name of assets.filter((one) => one.endsWith(".js"))) {
    total += gzipSync(await readFile(join("dist/web/assets", name))).byteLength;
  }
  expect(total).toBeLessThanOrEqual(120_000);
  const paint = await page.evaluate(
    () => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? Number.NaN,
  );
  process.stdout.write(
    `JavaScript ${total} bytes compressed, first contentful paint ${paint.toFixed(0)} ms\n`,
  );
});

test("the command that serves the page also ends well without a visitor", async () => {
  expect((await skipway("up", "--once", "--data", join(folder, "data"))).code).toBe(0);
});
