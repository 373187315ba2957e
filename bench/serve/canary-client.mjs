// An open-loop client that remembers of each request when it was sent, how long it took from its intended time, and
// which version answered.

import { arrivals } from "../../dist/drill/load/arrivals.js";
import { sendLoad } from "../../dist/drill/load/load.js";
import { answerTasks } from "./tasks.mjs";

const VERSION = /"model_version":\s*"(\d+)"/;
let sending;
let end;
let answers = [];
const outstanding = new Set();

answerTasks({
  start: ({ url, body, rate, seconds, seed }) => {
    answers = [];
    end = new AbortController();
    const question = { body: Buffer.from(body), headers: { "content-type": "application/json" } };
    const plan = {
      url: new URL(url),
      question: (i) => {
        outstanding.add(i);
        return question;
      },
      arrivals: arrivals([{ seconds, from: rate, to: rate }], { spread: "poisson", seed }),
      connectionsMax: 64,
      timeoutMs: 20_000,
    };
    sending = sendLoad(plan, {
      end: end.signal,
      onAnswer: ({ i, sentMs, status, body: text }) => {
        outstanding.delete(i);
        const version = Number(VERSION.exec(text.toString("latin1"))?.[1] ?? 0);
        answers.push([sentMs, status, version]);
      },
    });
  },
  /** Until all that has been sent by now is answered. */
  settled: async () => {
    const sent = [...outstanding];
    while (sent.some((i) => outstanding.has(i))) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  },
  /** Until all that was planned is answered. */
  finish: async () => {
    const { latencies } = await sending;
    return { latencies: [...latencies], answers };
  },
  stop: async () => {
    end.abort();
    const { latencies } = await sending;
    return { latencies: [...latencies], answers };
  },
});
