import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Locator, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { failing } from "../../src/drill/faults/model-faults.ts";
import { dense, relu, sequential } from "../../src/nn/index.ts";
import { buildNet } from "../../src/nn/net.ts";
import type { Model } from "../../src/onnx/model.ts";
import { modelOf } from "../../src/onnx/onnx-model.ts";
import { encodeModel } from "../../src/onnx/write.ts";
import type { RolloutDocument } from "../../src/rollout/document.ts";
import { Running, skipway } from "../cli.ts";
import { launchBrowser } from "./chromium.ts";

// The canary card in a real browser, in front of a real server: a rollout over HTTP, held, resumed and taken back by key.

let folder = "";
let server: Running;
let at = "";
let browser: Browser;
let page: Page;
let noise: string[] = [];

function netOf(seed: number): Model {
  const input = { name: "x", shape: [3] };
  return modelOf(buildNet(sequential(dense(8), relu(), dense(4)), { input, output: "y", seed }));
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-rollout-"));
  // The first one fails in the runtime for three of ten inputs; the last one is stable.
  for (const model of [failing(netOf(1), { share: 0.3 }), netOf(2), netOf(1)]) {
    const path = join(folder, "given.onnx");
    await writeFile(path, encodeModel(model));
    const pushed = await skipway("registry", "push", path, "--name", "net", "--data", folder);
    expect(pushed.code).toBe(0);
  }
  browser = await launchBrowser();
  server = new Running([
    ...["serve", "--data", folder, "--versions", "all", "--port", "0", "--no-grpc"],
    ...["--grace", "0"],
  ]);
  at = (await server.says(/(http:\/\/127\.0\.0\.1:\d+) {2}Open/))[1] ?? "";
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
  await page.goto(`${at}/on-call`);
  await page.getByRole("grid", { name: "Versions" }).waitFor();
});
afterEach(() => page.close());

async function api(path: string, body?: unknown): Promise<unknown> {
  const headers = { "content-type": "application/json" };
  const order = { method: "POST", headers, body: JSON.stringify(body) };
  const response = await fetch(`${at}${path}`, body === undefined ? {} : order);
  const answer = await response.json();
  expect(response.status, JSON.stringify(answer)).toBeLessThan(400);
  return answer;
}

/** Requests one after another, as clients that name no version; none of them fails. */
async function ask(count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const data = [Math.sin(i), Math.sin(7 * i), Math.cos(i)];
    const inputs = [{ name: "x", datatype: "FP32", shape: [1, 3], data }];
    await api("/v2/models/net/infer", { inputs });
  }
}

const card = (): Locator => page.locator("section.rollout");
const outcome = (): Locator => page.getByTestId("outcome");
const dryRun = (): Locator => page.getByTestId("dry-run");

function event(text: RegExp): Locator {
  return page.locator(".events li", { hasText: text });
}

/** The server has said what would happen, and the button has the focus. */
async function foreseen(): Promise<string> {
  await page.locator("dialog button.strong:focus").waitFor();
  return dryRun().innerText();
}

describe("the canary card", () => {
  test("appears with its steps, gates, versions and picture when a rollout starts", async () => {
    await api("/api/v1/models/net/rollout", {
      to: 2,
      override: "a test",
      reason: "is it faster?",
      policy: {
        shadow: false,
        thresholdMs: 60_000,
        steps: [
          { share: 0.3, seconds: 3600, requests: 100_000 },
          { share: 0.5, seconds: 3600, requests: 100_000 },
        ],
      },
    });
    await card()
      .getByRole("heading", { name: /net 3 → 2/ })
      .waitFor();
    await card().getByText("30 % to version 2, 70 % to 3").waitFor();
    expect(await card().locator('[aria-current="step"]').innerText()).toContain("30 %");
    await event(/▷ started/).waitFor();
    await ask(60);
    await card().getByText("UNDERPOWERED").first().waitFor();
    await card()
      .getByText(/\d+ more requests of the candidate, \d+ (s|min) at/)
      .waitFor();
    const slow = page.getByRole("row", { name: /^slow [A-Z]/ });
    await slow
      .getByText(/^0 of \d+$/)
      .first()
      .waitFor();
    expect(await slow.getByRole("meter").getAttribute("aria-label")).toBe("Evidence of gate slow");
    await page.getByRole("row", { name: /^P50 last 60 s \d/ }).waitFor();
    await page.getByRole("row", { name: /^drift of y .* n = \d+/ }).waitFor();
    await page.getByRole("row", { name: /^run time of an inference .*\d ms n = \d+/ }).waitFor();
    await page.getByRole("img", { name: /^Evidence over time against its limit/ }).waitFor();
    expect(noise).toEqual([]);
  });

  test("is held and resumed by key, each after a dry run; the event appears", async () => {
    await page.keyboard.press("o");
    expect(await foreseen()).toContain("event held");
    await page.keyboard.press("Escape");
    expect(await page.getByRole("dialog").count()).toBe(0);
    expect(await card().getByText("held").count()).toBe(0);
    await page.keyboard.press("o");
    await foreseen();
    await page.getByLabel("Reason, for the record").fill("I look\u202e at it");
    await page.keyboard.press("Enter");
    await outcome().getByText("Hold net 3 → 2: done").waitFor();
    await event(/held.*I look\u202e at it/s).waitFor();
    await card().locator(".words").getByText("held").waitFor();
    // What turns the direction of writing turns nothing of the page itself.
    const around = page.locator("main :not(bdi)", { hasText: /\u202e/ });
    const own = await around.evaluateAll((all) =>
      all.flatMap(({ tagName, childNodes }) =>
        [...childNodes].some(
          ({ nodeType, nodeValue }) => nodeType === 3 && nodeValue?.includes("\u202e"),
        )
          ? [tagName]
          : [],
      ),
    );
    expect(own).toEqual([]);
    expect(await page.locator("bdi", { hasText: /\u202e/ }).count()).toBe(2);
    await page.keyboard.press("o");
    await foreseen();
    await page.keyboard.press("Enter");
    await outcome().getByText("Resume net 3 → 2: done").waitFor();
    await event(/resumed/).waitFor();
    expect(noise).toEqual([]);
  });

  test("is frozen by key; what the server would refuse is told, and cannot be done", async () => {
    await page.keyboard.press("f");
    expect(await foreseen()).toContain("event frozen");
    await page.keyboard.press("Enter");
    await outcome().getByText("Freeze net 3 → 2: done").waitFor();
    await card().locator(".words").getByText("frozen").waitFor();
    await page.keyboard.press("p");
    await dryRun()
      .getByText(/Refused: rollout of net: .*frozen/)
      .waitFor();
    expect(await page.locator("dialog button.strong").isDisabled()).toBe(true);
    await page.keyboard.press("Enter");
    expect(await page.getByRole("dialog").count()).toBe(1);
    await page.keyboard.press("Escape");
    await page.keyboard.press("f");
    await foreseen();
    await page.keyboard.press("Enter");
    await outcome().getByText("Resume net 3 → 2: done").waitFor();
    // The refusal is an answer that the browser writes down by itself.
    expect(noise.filter((text) => !text.includes("409"))).toEqual([]);
  });

  test("is taken back by key: what will happen is said first, then no request goes there", async () => {
    await page.keyboard.press("b");
    const said = await foreseen();
    expect(said).toContain("all requests go to version 3");
    expect(said).toContain("event aborted");
    const before = (await api("/api/v1/models/net/rollout")) as RolloutDocument;
    expect(before.share).toBe(0.3);
    await page.keyboard.press("Enter");
    await outcome().getByText("Roll back net 3 → 2: done").waitFor();
    await event(/◁ aborted/).waitFor();
    await card().getByText("taken back by hand").waitFor();
    expect(
      await card()
        .getByRole("button", { name: /Roll back/ })
        .count(),
    ).toBe(0);
    const { share, phase } = (await api("/api/v1/models/net/rollout")) as RolloutDocument;
    expect([share, phase]).toEqual([0, "aborted"]);
    await page.keyboard.press("p");
    await outcome().getByText("no rollout of net is under way").waitFor();
    expect(noise).toEqual([]);
  });

  test("of a rollout that is over is opened again, with its evidence, by its address", async () => {
    await page.getByText("Rollouts that are over").click();
    await page.getByRole("button", { name: "net 3 → 2" }).click();
    await page.waitForURL(/rollout=[^&]+/);
    await page.reload();
    await card().getByText("taken back by hand").waitFor();
    const picture = card().getByRole("img", { name: /^Evidence over time/ });
    await picture.locator("canvas").waitFor();
    await card()
      .getByText(/from the certificate of the rollback, sha256:/)
      .waitFor();
    await card().getByRole("button", { name: "Close" }).click();
    expect(page.url()).not.toContain("rollout=");
    expect(noise).toEqual([]);
  });

  test("of a candidate that fails: it is taken back while one looks, and no client sees it fail", async () => {
    await api("/api/v1/models/net/rollout", {
      to: 1,
      override: "a test",
      policy: {
        shadow: false,
        thresholdMs: 60_000,
        steps: [{ share: 0.5, seconds: 3600, requests: 100_000 }],
      },
    });
    await card()
      .getByRole("heading", { name: /net 3 → 1/ })
      .waitFor();
    await event(/50 % of the requests/).waitFor();
    for (let i = 0; i < 40 && (await event(/rolled-back/).count()) === 0; i++) await ask(20);
    await event(/◁ rolled-back.*\(failed\)/s).waitFor();
    const own = card().filter({ hasText: "net 3 → 1" });
    await own.getByText("REGRESS").first().waitFor();
    const evidence = own.getByRole("meter", { name: "Evidence of gate failed" });
    expect(await evidence.getAttribute("value")).toBe("1");
    await own.getByText(/^failed requests: \d+ of \d+, stable 0 of \d+/).waitFor();
    expect(noise).toEqual([]);
  });

  test("fits a narrow screen", async () => {
    const narrow = await browser.newPage({ viewport: { width: 390, height: 800 } });
    await narrow.goto(`${at}/on-call`);
    await narrow.locator("section.rollout canvas").first().waitFor();
    expect(await narrow.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(
      390,
    );
    await narrow.close();
  });
});
