// The client of the memory bomb: requests of all sizes, each asked until it is answered or refused for good.

import { Agent, request } from "node:http";
import { Random } from "../../dist/base/random.js";
import { answerTasks } from "./tasks.mjs";

/** Requests under way. */
const AT_ONCE = 64;
/** Of the wait that a server asks for: a client that is in no hurry would only make this last. */
const RETRY_MS = 100;
/** A request that is still told "not now" then is not answered. */
const PATIENCE_MS = 120_000;
/** 0: a connection that the server closed after it had refused what came on it before. */
const LATER = [0, 429, 503];
const ENDS = [200, 413, 507];
const UNEXPECTED_SHOWN = 10;

/** As many elements as any input may have. */
const ELEMENTS = 16 * 1_048_576;
const CONTENT = {
  FP32: Buffer.from(new Float32Array(ELEMENTS).fill(0.5).buffer),
  INT64: Buffer.alloc(ELEMENTS),
};
const WIDTH = { FP32: 4, INT64: 8 };

/** From one row to more than can ever fit, small ones more often. */
function drawn(random, targets) {
  const { model, inputs, rowsPower, sizePowers } = targets[random.integer(targets.length)];
  const rows = Math.floor(2 ** (random.uniform() * rowsPower));
  const [least, most] = sizePowers;
  return { model, inputs, rows, size: 2 ** (least + random.integer(most - least + 1)) };
}

/** A JSON header, and the bytes of each input. */
function partsOf({ inputs: wanted, rows, size }) {
  const body = [];
  const inputs = wanted.map(({ name, datatype, shape }) => {
    const dims = shape.map((dim, axis) => (dim >= 0 ? dim : axis === 0 ? rows : size));
    const bytes = dims.reduce((a, b) => a * b, 1) * WIDTH[datatype];
    body.push(CONTENT[datatype].subarray(0, bytes));
    return { name, datatype, shape: dims, parameters: { binary_data_size: bytes } };
  });
  return { head: Buffer.from(JSON.stringify({ inputs })), body };
}

function ask(at, agent, question) {
  const { head, body } = partsOf(question);
  const headers = {
    "content-type": "application/octet-stream",
    "content-length": body.reduce((sum, one) => sum + one.byteLength, head.byteLength),
    "inference-header-content-length": head.byteLength,
  };
  return new Promise((resolve) => {
    const url = `${at}/v2/models/${question.model}/infer`;
    const sending = request(url, { method: "POST", agent, headers }, (answer) => {
      let text = "";
      answer.on("data", (chunk) => {
        if (answer.statusCode !== 200) text += chunk;
      });
      answer.on("end", () => {
        const waitMs = 1000 * Number(answer.headers["retry-after"] ?? 0);
        resolve({ status: answer.statusCode, waitMs, text });
      });
      answer.on("error", () => resolve({ status: 0, waitMs: 0 }));
    });
    sending.on("error", () => resolve({ status: 0, waitMs: 10 }));
    for (const one of [head, ...body]) sending.write(one);
    sending.end();
  });
}

/** Asks again as long as the server says "not now". */
async function answered(at, agent, question) {
  const from = performance.now();
  for (let again = 0; ; again++) {
    const { status, waitMs, text } = await ask(at, agent, question);
    const ms = performance.now() - from;
    if (!LATER.includes(status) || ms > PATIENCE_MS) return { status, ms, again, text };
    await new Promise((resolve) => setTimeout(resolve, Math.min(RETRY_MS, waitMs)));
  }
}

answerTasks({
  bomb: async ({ at, targets, requests, seed }) => {
    const random = new Random(seed);
    const agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE });
    const [statuses, times, unexpected] = [{}, [], []];
    const refused = new Map();
    let [sent, done, toldLater] = [0, 0, 0];
    const client = async () => {
      while (sent++ < requests) {
        const question = drawn(random, targets);
        const { status, ms, again, text } = await answered(at, agent, question);
        const name = `${question.model}, ${question.rows} rows of ${question.size}`;
        statuses[status] = (statuses[status] ?? 0) + 1;
        toldLater += again;
        if (status === 200) times.push(ms);
        if (status === 507) refused.set(name, { ...question, text });
        if (!ENDS.includes(status) && unexpected.length < UNEXPECTED_SHOWN) {
          unexpected.push(`${name}: ${status} after ${again} more: ${text}`);
        }
        if (++done % 5000 === 0) process.stderr.write(`${done} of ${requests}\n`);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, client));
    agent.destroy();
    return { statuses, times, unexpected, toldLater, refused: [...refused.values()] };
  },
  /** One after the other; those that are answered. */
  alone: async ({ at, questions }) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const found = [];
    for (const question of questions) {
      const { status } = await answered(at, agent, question);
      const { model, rows, size, text } = question;
      if (status === 200) found.push(`${model}, ${rows} rows of ${size}: ${text}`);
    }
    agent.destroy();
    return found;
  },
});
