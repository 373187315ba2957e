// One measurement of `pixel.bench.ts` in a process of its own: pixel-child.mjs FOLDER EVENTS REQUESTS_PER_SECOND.
// Prints, for each event, milliseconds from when it happened, and from when it was asked for, to its frame.

import { execFileSync, spawn } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import * as nn from "../dist/nn/index.js";
import { modelOf } from "../dist/onnx/onnx-model.js";
import { encodeModel } from "../dist/onnx/write.js";

const CHROMIUM = [
  process.env.CHROMIUM ?? "",
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
].find((path) => path !== "" && existsSync(path));

const [folder = "", events = "40", perSecond = "0"] = process.argv.slice(2);

function pushVersions() {
  for (const seed of [1, 2]) {
    const net = nn.buildNet(nn.sequential(nn.dense(64), nn.relu(), nn.dense(16)), {
      input: { name: "x", shape: [16] },
      output: "y",
      seed,
    });
    const file = join(folder, `net-${seed}.onnx`);
    writeFileSync(file, encodeModel(modelOf(net)));
    const args = ["registry", "push", file, "--name", "net", "--data", folder];
    execFileSync(process.execPath, ["dist/cli/main.js", ...args], { stdio: "ignore" });
  }
}

async function serve() {
  const args = ["serve", "--data", folder, "--versions", "all", "--port", "0", "--no-grpc"];
  const child = spawn(process.execPath, ["dist/cli/main.js", ...args, "--json", "--quiet"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  for await (const chunk of child.stdout) {
    out += chunk;
    if (out.endsWith("}\n")) break;
  }
  return { child, at: JSON.parse(out).address };
}

async function post(url, body) {
  const headers = { "content-type": "application/json" };
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${url}: ${JSON.stringify(answer)}`);
  return answer;
}

/** Runs in the page: notes when each event's frame is drawn. */
function watch() {
  const list = document.querySelector(".events ol");
  const known = new Set();
  window.drawn = [];
  const look = () => {
    for (const entry of list.querySelectorAll("li")) {
      const at = entry.querySelector("time").dateTime;
      const text = entry.innerText;
      if (known.has(`${at}${text}`)) continue;
      known.add(`${at}${text}`);
      // The next frame has it; a task after that frame's callbacks runs when it was drawn.
      requestAnimationFrame(() => {
        const channel = new MessageChannel();
        channel.port1.onmessage = () => {
          window.drawn.push({ atMs: Date.parse(at), text, drawnMs: Date.now() });
        };
        channel.port2.postMessage(0);
      });
    }
  };
  look();
  new MutationObserver(look).observe(list, { subtree: true, childList: true, characterData: true });
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function measure(at, page) {
  const url = `${at}/api/v1/models/net/rollout`;
  await post(url, {
    to: 1,
    override: "a benchmark",
    policy: {
      shadow: false,
      thresholdMs: 1000,
      steps: [{ share: 0.05, seconds: 3600, requests: 100_000 }],
    },
  });
  await page.locator(".rollout").waitFor();
  await wait(2000);
  const found = [];
  for (let i = 0; i < Number(events); i++) {
    const [act, word] = i % 2 === 0 ? ["hold", "held"] : ["resume", "resumed"];
    const reason = `event ${i}.`;
    const askedMs = Date.now();
    await post(`${url}/${act}`, { reason });
    const line = await page
      .waitForFunction(
        ([kind, why]) => window.drawn.find(({ text }) => text.includes(kind) && text.includes(why)),
        [word, reason],
      )
      .then((handle) => handle.jsonValue());
    found.push({ eventMs: line.drawnMs - line.atMs, askedMs: line.drawnMs - askedMs });
    // The numbers of each second must not be in step with it.
    await wait(150 + ((i * 37) % 200));
  }
  return found;
}

function load(at) {
  if (perSecond === "0") return () => {};
  const inputs = [{ name: "x", datatype: "FP32", shape: [1, 16], data: new Array(16).fill(0.5) }];
  const body = JSON.stringify({ inputs });
  const headers = { "content-type": "application/json" };
  const timer = setInterval(() => {
    fetch(`${at}/v2/models/net/infer`, { method: "POST", headers, body })
      .then((response) => response.arrayBuffer())
      .catch(() => {});
  }, 1000 / Number(perSecond));
  return () => clearInterval(timer);
}

pushVersions();
const { child, at } = await serve();
const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: ["--headless", "--no-sandbox", "--disable-gpu"],
});
try {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  await page.goto(`${at}/on-call`);
  await page.locator(".events ol").waitFor();
  await page.evaluate(watch);
  const stop = load(at);
  const found = await measure(at, page);
  stop();
  process.stdout.write(JSON.stringify({ found, browser: browser.version() }));
} finally {
  await browser.close();
  child.kill("SIGTERM");
}
