import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Locator, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { OnCallDocument } from "../../src/dashboard/api.ts";
import { Running, skipway } from "../cli.ts";
import { affineModel, tinyClassifier } from "../models.ts";
import { launchBrowser } from "./chromium.ts";

// The on-call page in a real browser, in front of the real server with two versions of a model, by keyboard.

let folder = "";
let server: Running;
let at = "";
let browser: Browser;
let page: Page;
let noise: string[] = [];

async function start(port = "0"): Promise<[Running, string]> {
  const running = new Running([
    ...["serve", "--data", folder, "--versions", "all", "--port", port, "--no-grpc"],
    ...["--grace", "0", "--memory", "1GB"],
  ]);
  return [running, (await running.says(/(http:\/\/127\.0\.0\.1:\d+) {2}Open/))[1] ?? ""];
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-on-call-"));
  for (const file of [affineModel(), tinyClassifier()]) {
    const path = join(folder, "given.onnx");
    await writeFile(path, file);
    const pushed = await skipway("registry", "push", path, "--name", "net", "--data", folder);
    expect(pushed.code).toBe(0);
  }
  const objectives = { latency: { p50: "1m" }, availability: "99%" };
  await writeFile(join(folder, "slo.json"), JSON.stringify({ models: { net: objectives } }));
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
  page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  page.setDefaultTimeout(15_000);
  page.on("console", (message) => message.type() === "error" && noise.push(message.text()));
  page.on("pageerror", (error) => noise.push(error.message));
  await page.goto(`${at}/on-call?row=net/1`);
  await row(1).waitFor();
});
afterEach(() => page.close());

/** The row of a version. */
function row(version: number): Locator {
  return page.locator("tr", { has: page.getByText(new RegExp(`^net ${version}`)) });
}

const outcome = (): Locator => page.getByTestId("outcome");

function event(text: RegExp): Locator {
  return page.locator(".events li", { hasText: text });
}

async function ask(version = 1): Promise<number> {
  const inputs = [{ name: "x", datatype: "FP32", shape: [1, 3], data: [1, 2, 3] }];
  const path = `${at}/v2/models/net/versions/${version}/infer`;
  return (await fetch(path, { method: "POST", body: JSON.stringify({ inputs }) })).status;
}

async function now(): Promise<OnCallDocument> {
  return (await (await fetch(`${at}/api/v1/on-call`)).json()) as OnCallDocument;
}

/** Presses keys one after another. */
async function press(...keys: readonly string[]): Promise<void> {
  for (const key of keys) await page.keyboard.press(key);
}

/** The question has come, and its first button has the focus. */
async function confirm(): Promise<void> {
  await page.locator("dialog button.strong:focus").waitFor();
  await page.keyboard.press("Enter");
}

describe("the on-call page", () => {
  test("a request's latency appears, with its n and the objective beside it", async () => {
    await row(1).getByText("n = 0 · ≤ 60 s").waitFor();
    for (let i = 0; i < 30; i++) expect(await ask()).toBe(200);
    await row(1).getByText("n = 30 · ≤ 60 s").waitFor();
    expect(await row(1).innerText()).toMatch(/\d ms\s+n = 30 · ≤ 60 s\s+unknown\s+n = 30/);
    expect(await row(1).innerText()).toContain("30 / 0");
    expect(await page.locator("header").innerText()).toMatch(/memory [\d.]+ MiB of [\d.]+ MiB/);
    expect(noise).toEqual([]);
  });

  test("a killed process shows its restart and the cause", async () => {
    const { pid } = (await now()).status.models.find(({ version }) => version === 1) ?? {};
    process.kill(pid ?? -1, "SIGKILL");
    await event(/restart\s*net 1.*\(killed\)/s).waitFor();
    await event(/restarting → ready/).waitFor();
    await row(1).getByText("1 killed").waitFor();
    await row(1).getByText("ready").waitFor();
    expect(noise).toEqual([]);
  });

  test("by keyboard: reload, after a question that says what happens", async () => {
    await press("r");
    await page.getByRole("dialog", { name: "Reload net" }).waitFor();
    await press("Escape");
    expect(await page.getByRole("dialog").count()).toBe(0);
    expect(await outcome().count()).toBe(0);
    await press("r");
    await confirm();
    await outcome().getByText("Reload net: done").waitFor();
    await event(/net 1 loaded again/).waitFor();
    await press("Escape");
    expect(await outcome().count()).toBe(0);
    expect(noise).toEqual([]);
  });

  test("by keyboard: the split, and a refusal in the server's words", async () => {
    // Version 2 is stable. The row of the other one proposes it as the candidate.
    await press("s");
    await page.keyboard.type("25");
    await page.getByText("25 % go to version 1 and 75 % to version 2").waitFor();
    await press("Enter");
    await outcome().getByText("Set the split of net: done").waitFor();
    await row(1).getByText("25 %").waitFor();
    await press("s");
    await page.getByLabel("Shadow").selectOption("2");
    await page.getByRole("button", { name: /Set the split/ }).click();
    await outcome().getByText("refused (400): shadow is the stable version itself").waitFor();
  });

  test("by keyboard: the stable version is not drained, the other one is; a reload brings it back", async () => {
    await press("k");
    expect(await row(2).getAttribute("aria-selected")).toBe("true");
    await press("d");
    await confirm();
    await outcome().getByText("refused (409): version 2 is stable").waitFor();
    await press("j");
    await press("d");
    await confirm();
    await outcome().getByText("Drain net version 1: done").waitFor();
    await row(1).waitFor({ state: "detached" });
    await event(/unload\s*net 1/).waitFor();
    expect(await ask()).toBe(404);
    await press("r");
    await confirm();
    await row(1).getByText("ready").waitFor();
  });

  test("the address is the state; rows, windows and keys work without a mouse", async () => {
    await page.goto(`${at}/on-call`);
    await row(2).waitFor();
    await press("Home");
    await press("w");
    expect(page.url()).toBe(`${at}/on-call?row=net/2&minutes=15`);
    await page.reload();
    await row(2).waitFor();
    expect(await row(2).getAttribute("aria-selected")).toBe("true");
    expect(await page.getByRole("button", { name: "15 min" }).getAttribute("aria-pressed")).toBe(
      "true",
    );
    await press("ArrowDown");
    expect(await page.evaluate(() => document.activeElement?.getAttribute("aria-selected"))).toBe(
      "true",
    );
    await press("?");
    await page.getByRole("dialog", { name: "Keys" }).waitFor();
    // Keys belong to what is open.
    await press("r");
    expect(await page.getByRole("dialog").count()).toBe(1);
    await press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await press("h");
    await page.waitForURL(`${at}/`);
    await page.getByRole("link", { name: "On-call" }).click();
    await row(1).waitFor();
  });

  test("events are narrowed by model and kind, and the address keeps that", async () => {
    await page.getByLabel("Kind of events").selectOption("alarms");
    await page
      .locator(".events")
      .getByText(/\d+ of the last \d+/)
      .waitFor();
    expect(page.url()).toBe(`${at}/on-call?row=net/1&kind=alarms`);
    await page.reload();
    await event(/restart/).waitFor();
    const kinds = await page.locator(".events .kind").allInnerTexts();
    expect(new Set(kinds.map((one) => one.replace(/^\W+/, "")))).toEqual(new Set(["restart"]));
    await page.getByLabel("Kind of events").selectOption("");
    await page.getByLabel("Model of events").selectOption("net");
    expect(page.url()).toBe(`${at}/on-call?row=net/1&model=net`);
  });

  test("a key for a rollout where there is none says so", async () => {
    await press("b");
    await outcome().getByText("no rollout of net is under way").waitFor();
  });

  test("fits a narrow screen and follows dark mode", async () => {
    const narrow = await browser.newPage({
      viewport: { width: 390, height: 800 },
      colorScheme: "dark",
    });
    await narrow.goto(`${at}/on-call`);
    await narrow.locator(".details .chart canvas").first().waitFor();
    const { wide, paper } = await narrow.evaluate(() => ({
      wide: document.documentElement.scrollWidth,
      paper: getComputedStyle(document.body).backgroundColor,
    }));
    expect(wide).toBeLessThanOrEqual(390);
    expect(paper).toBe("rgb(13, 17, 23)");
    await narrow.close();
  });

  test("says when the server is gone, and finds it again with nothing of what was", async () => {
    server.kill("SIGTERM");
    await server.done;
    await page.getByText("disconnected: these numbers are old").waitFor();
    [server] = await start(new URL(at).port);
    await page.locator(".badge.good").waitFor({ timeout: 30_000 });
    expect(await event(/loaded again/).count()).toBe(0);
  });
});
