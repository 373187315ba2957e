// Clients that say that they send no more (shutdown of one direction, RFC 9293 3.6) still want their answer;
// clients that are gone do not, and their request must leave the queue. On the wire both look alike: only a
// byte that is sent tells, since a machine that has closed answers it with a reset. Every answer begins with
// the same nine characters, so these are sent ahead, one at a time, while the answer is on its way.

import type { Server } from "node:http";
import type { Socket } from "node:net";

const AHEAD = "HTTP/1.1 ";
/** When each character goes: the reset to the first must be back before the second fails. */
const PAUSES_MS = [0, 20, 100, 300, 1000, 3000, 10_000, 20_000, 30_000];

/** Lets clients of a plain server close their side first. */
export function answerHalfClosed(server: Server): void {
  // Node has this setting, and no type for it.
  Object.assign(server, { httpAllowHalfOpen: true });
  server.on("connection", (socket) => {
    socket.once("end", () => {
      if (isWaiting(socket)) probe(socket);
    });
  });
}

/** Whether a request has no part of its answer yet. */
function isWaiting(socket: Socket): boolean {
  if (!("_httpMessage" in socket)) return false;
  const response = socket._httpMessage;
  return typeof response === "object" && response !== null && "headersSent" in response
    ? response.headersSent === false
    : false;
}

function probe(socket: Socket): void {
  let sent = 0;
  let timer: NodeJS.Timeout | undefined;
  const { write } = socket;
  const next = (): void => {
    timer = setTimeout(() => {
      Reflect.apply(write, socket, [AHEAD.charAt(sent), "latin1"]);
      sent++;
      if (sent < AHEAD.length) next();
    }, PAUSES_MS[sent]).unref();
  };
  const end = (): void => {
    clearTimeout(timer);
    Reflect.deleteProperty(socket, "write");
  };
  // The answer's first write: what is ahead is not sent again.
  const rest = (chunk: unknown, ...more: unknown[]): unknown => {
    end();
    const left =
      typeof chunk === "string" || chunk instanceof Uint8Array ? chunk.slice(sent) : chunk;
    return Reflect.apply(write, socket, [left, ...more]);
  };
  Object.assign(socket, { write: rest });
  socket.once("close", end);
  next();
}
