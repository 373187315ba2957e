// Bytes that clients have sent and that are not answered yet, over all connections: the library holds a message until
// it is whole, and many clients that send large ones slowly would take the server's memory.

import { limits } from "../../base/limits.ts";

/** What is asked of a socket. */
export interface InboundSocket {
  readonly bytesRead: number;
  destroy(): unknown;
}

/** Bytes of one call, given back once it is over. */
export interface InboundCall {
  /** A message of so many bytes is whole. */
  received(bytes: number): void;
  /** The first message that was not answered yet is, with so many bytes. */
  answered(bytes: number): void;
  /** The call is over. */
  end(): void;
}

interface Connection {
  readonly socket: InboundSocket;
  /** Calls that are not over. */
  calls: number;
  /** What had been read from it when no call was open, and of what was read since the part that is done with. */
  settled: number;
}

/**
 * What else is read for a call, at most in the usual case: headers with a token, frames, and for an answer the updates
 * of windows. Too little would add up on a connection that always has a call open, such as a watch of its health.
 */
const CALL_BYTES = 1024;
const MESSAGE_BYTES = 64;
const FRAMES_SHARE = 1 / 512;
const WINDOWS_SHARE = 1 / 1024;

/** The bytes that each connection holds. */
export class Inbound {
  readonly #heldMax: number;
  readonly #connections = new Map<string, Connection>();

  constructor(heldMax: number = limits.bodiesBytesMax) {
    this.#heldMax = heldMax;
  }

  /** A connection of a peer, its address and port. */
  add(peer: string, socket: InboundSocket): void {
    this.#connections.set(peer, { socket, calls: 0, settled: socket.bytesRead });
  }

  /** A connection that is gone. */
  remove(peer: string): void {
    this.#connections.delete(peer);
  }

  /** A call of a peer begins. */
  begin(peer: string): InboundCall {
    const connection = this.#connections.get(peer);
    const waiting: number[] = [];
    let open = true;
    if (connection !== undefined) {
      if (connection.calls === 0) connection.settled = connection.socket.bytesRead;
      connection.calls++;
    }
    const settle = (bytes: number): void => {
      if (connection === undefined) return;
      // Of a compressed message less was read than it has now.
      connection.settled = Math.min(connection.settled + bytes, connection.socket.bytesRead);
    };
    return {
      received: (bytes) => {
        waiting.push(bytes * (1 + FRAMES_SHARE));
      },
      answered: (bytes) => settle((waiting.shift() ?? 0) + bytes * WINDOWS_SHARE + MESSAGE_BYTES),
      end: () => {
        if (connection === undefined || !open) return;
        open = false;
        connection.calls--;
        settle(waiting.reduce((sum, one) => sum + one, CALL_BYTES));
      },
    };
  }

  /** Bytes that are held now. */
  held(): number {
    let total = 0;
    for (const connection of this.#connections.values()) total += heldBy(connection);
    return total;
  }

  /** Ends connections, those that hold most first, until the rest is within bounds. */
  relieve(): void {
    let total = this.held();
    if (total <= this.#heldMax) return;
    const most = [...this.#connections].sort(([, a], [, b]) => heldBy(b) - heldBy(a));
    for (const [peer, connection] of most) {
      if (total <= this.#heldMax) return;
      total -= heldBy(connection);
      this.#connections.delete(peer);
      connection.socket.destroy();
    }
  }
}

function heldBy({ calls, socket, settled }: Connection): number {
  return calls === 0 ? 0 : socket.bytesRead - settled;
}
