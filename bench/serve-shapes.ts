// What a flood of requests costs of which each has another shape: their memory is planned before they may run, on another
// thread, and the server's event loop must not wait for it. `--seconds`.

import type { Part } from "./serve.bench.ts";
import { skipwayServes } from "./serve-processes.ts";
import { jsonBody, Metrics, rounded } from "./serve-questions.ts";

const AT_ONCE = 32;
/** Sides of the images, each with each. */
const [SIDE_LEAST, SIDES] = [8, 64];
/** The server tells how late its loop was in the last 15 to 30 seconds: no longer in its start, then. */
const STARTED_SECONDS = 32;

/** How late the event loop is under new shapes, and under as many requests of one. */
export async function shapes(part: Part): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const middle = SIDE_LEAST + SIDES / 2;
  const each = (i: number) => [SIDE_LEAST + (i % SIDES), SIDE_LEAST + Math.floor(i / SIDES)];
  return [
    { what: "each request of a new shape, 32 at once", ...(await flood(part, each)) },
    { what: "all of one shape, 32 at once", ...(await flood(part, () => [middle, middle])) },
  ];
}

async function flood(part: Part, sidesOf: (request: number) => readonly number[]) {
  await using server = await skipwayServes([part.model("free")]);
  const url = `${server.at}/v2/models/free/infer`;
  await new Promise((resolve) => setTimeout(resolve, part.small ? 0 : 1000 * STARTED_SECONDS));
  const untilMs = performance.now() + 1000 * part.number("seconds", part.small ? 3 : 20);
  const statuses: Record<string, number> = {};
  let sent = 0;
  const worker = async (): Promise<void> => {
    while (performance.now() < untilMs && sent < SIDES * SIDES) {
      const shape = [1, 3, ...sidesOf(sent++)];
      const { body, headers } = jsonBody({ name: "x", dtype: "float32", shape });
      const content = { body: Buffer.from(body, "base64"), headers };
      const response = await fetch(url, { method: "POST", ...content });
      await response.arrayBuffer();
      statuses[response.status] = (statuses[response.status] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  const late = (await Metrics.of(server.at)).sum("nodejs_eventloop_lag_p99_seconds");
  return { sent, statuses, eventLoopLateP99Ms: rounded(1000 * late), goalLateMs: 10 };
}
