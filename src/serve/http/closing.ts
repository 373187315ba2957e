// The end of the HTTP server: what has reached it is answered, and nothing is taken any more.

import type { Server } from "node:http";
import type { FastifyInstance } from "fastify";

/** A connection that becomes idle after the end has begun would be kept open for a minute. */
const IDLE_CHECK_MS = 50;
/** Turns of the event loop in which nobody came: one accepts a connection, the next reads its request. */
const QUIET_TURNS = 3;
/** Who comes all the time does not put off the end for ever. */
const TURNS_MAX = 2000;

/**
 * Resolves once the connections and requests that lie in the system's queues are taken: on a busy machine this process may
 * have been kept from looking, and closed now they would be lost. libuv takes one connection in each turn.
 */
export async function arrived(server: Server): Promise<void> {
  let quiet = 0;
  const came = (): void => {
    quiet = 0;
  };
  server.on("connection", came);
  for (let turn = 0; quiet < QUIET_TURNS && turn < TURNS_MAX; turn++) {
    quiet++;
    await new Promise((resolve) => setImmediate(resolve));
  }
  server.off("connection", came);
}

/** Takes nothing new, finishes what is under way, and after `drainMs` cuts off the rest. */
export async function closeApp(app: FastifyInstance, drainMs: number): Promise<void> {
  const timer = setInterval(() => app.server.closeIdleConnections(), IDLE_CHECK_MS);
  const deadline = setTimeout(() => app.server.closeAllConnections(), drainMs);
  await app.close();
  clearInterval(timer);
  clearTimeout(deadline);
}
