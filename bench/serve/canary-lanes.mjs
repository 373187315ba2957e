// The clients of several models: for each an open load whose inputs are drawn uniformly, and what became of each request.

import { Random } from "../../dist/base/random.js";
import { arrivals } from "../../dist/drill/load/arrivals.js";
import { sendLoad } from "../../dist/drill/load/load.js";
import { answerTasks } from "./tasks.mjs";

const VERSION = /"model_version":\s*"(\d+)"/;
/** Content below this is slow in every version. */
const ALWAYS_SLOW = 0.005;
const CALIBRATION = 60;
const SECONDS_MAX = 3600;

const end = new AbortController();
const sending = [];
/** What each model has answered since somebody asked. */
const fresh = new Map();

/** As the fault of the file has it (src/drill/faults/place.ts), from the same float32. */
function contentOf(x) {
  const mixed = x * 1000.618_033_988_7 + x * x * 777.414_213_562_4;
  return mixed - Math.floor(mixed);
}

function questionOf(x) {
  const inputs = [{ name: "x", shape: [1, 1], datatype: "FP32", data: [x] }];
  const headers = { "content-type": "application/json" };
  return { body: Buffer.from(JSON.stringify({ inputs })), headers };
}

answerTasks({
  /** How long what is slow takes at the least, and what is not slow in the middle. */
  calibrate: async ({ url }) => {
    const random = new Random(5);
    const times = { slow: [], fast: [] };
    while (times.slow.length < CALIBRATION) {
      const x = Math.fround(random.uniform());
      const which = contentOf(x) < ALWAYS_SLOW ? "slow" : "fast";
      if (times[which].length >= CALIBRATION) continue;
      const { body, headers } = questionOf(x);
      const from = performance.now();
      await (await fetch(url, { method: "POST", body, headers })).arrayBuffer();
      times[which].push(performance.now() - from);
    }
    const sorted = (list) => list.toSorted((a, b) => a - b);
    return {
      slowMs: sorted(times.slow)[Math.floor(CALIBRATION / 10)],
      slowMedianMs: sorted(times.slow)[CALIBRATION / 2],
      fastMs: sorted(times.fast)[CALIBRATION / 2],
    };
  },
  start: ({ model, url, rate, seed }) => {
    const random = new Random(seed);
    const contents = new Map();
    fresh.set(model, []);
    const plan = {
      url: new URL(url),
      question: (i) => {
        const x = Math.fround(random.uniform());
        contents.set(i, contentOf(x));
        return questionOf(x);
      },
      arrivals: arrivals([{ seconds: SECONDS_MAX, from: rate, to: rate }], {
        spread: "poisson",
        seed,
      }),
      connectionsMax: 64,
      timeoutMs: 20_000,
    };
    const load = sendLoad(plan, {
      end: end.signal,
      onAnswer: ({ i, sentMs, endedMs, status, body }) => {
        const content = contents.get(i);
        contents.delete(i);
        const version = Number(VERSION.exec(body.toString("latin1"))?.[1] ?? 0);
        fresh.get(model).push([sentMs, endedMs, status, version, content]);
      },
    });
    sending.push(load);
  },
  /** What has been answered since this was last asked. */
  answers: ({ model }) => {
    const before = fresh.get(model);
    fresh.set(model, []);
    return before;
  },
  stop: async () => {
    end.abort();
    await Promise.all(sending);
  },
});
