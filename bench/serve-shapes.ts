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

/** How late the event loop is under new shapes. */
export async function shapes(part: Part): Promise<readonly Readonly<Record<string, unknown>>[]> {
  await using server = await skipwayServes([part.model("free")]);
  const url = `${server.at}/v2/models/free/infer`;
  await new Promise((resolve) => setTimeout(resolve, part.small ? 0 : 1000 * STARTED_SECONDS));
  const untilMs = performance.now() + 1000 * part.number("seconds", part.small ? 3 : 20);
  const statuses: Record<string, number> = {};
  let sent = 0;
  const worker = async (): Promise<void> => {
    while (performance.now() < untilMs && sent < SIDES * SIDES) {
      const [i, j] = [sent % SIDES, Math.floor(sent / SIDES)];
      sent++;
      const shape = [1, 3, SIDE_LEAST + i, SIDE_LEAST + j];
      const { body, headers } = jsonBody({ name: "x", dtype: "float32", shape });
      const response = await fetch(url, {
        method: "POST",
        body: Buffer.from(body, "base64"),
        headers,
      });
      await response.arrayBuffer();
      statuses[response.status] = (statuses[response.status] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  const late = (await Metrics.of(server.at)).sum("nodejs_eventloop_lag_p99_seconds");
  const what = "each request of a new shape, 32 at once";
  return [{ what, sent, statuses, eventLoopLateP99Ms: rounded(1000 * late), goalLateMs: 10 }];
}
