import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Inbound } from "./inbound.ts";

class FakeSocket {
  bytesRead = 0;
  destroyed = false;
  destroy(): void {
    this.destroyed = true;
  }
}

/** A peer of an inbound that holds at most 1,000 bytes. */
function peers(count: number) {
  const inbound = new Inbound(1000);
  const sockets = Array.from({ length: count }, () => new FakeSocket());
  for (const [i, socket] of sockets.entries()) inbound.add(String(i), socket);
  const begin = (peer: number, bytes: number) => {
    const call = inbound.begin(String(peer));
    const socket = sockets[peer];
    if (socket !== undefined) socket.bytesRead += bytes;
    return call;
  };
  return { inbound, sockets, begin };
}

describe("bytes that are held", () => {
  test("those of calls that are not over; nothing while no call is open", () => {
    const { inbound, begin, sockets } = peers(1);
    const first = begin(0, 30_000);
    expect(inbound.held()).toBe(30_000);
    const second = begin(0, 20_000);
    second.received(10_000);
    expect(inbound.held()).toBe(50_000);
    second.end();
    // What belongs to the message, and to a call besides it.
    expect(inbound.held()).toBeLessThan(39_000);
    expect(inbound.held()).toBeGreaterThan(38_000);
    second.end();
    first.end();
    expect(inbound.held()).toBe(0);
    if (sockets[0] !== undefined) sockets[0].bytesRead += 5000;
    expect(inbound.held()).toBe(0);
    begin(0, 10);
    expect(inbound.held()).toBe(10);
  });

  test("a stream gives back each message with its answer, however long it lasts", () => {
    const { inbound, begin, sockets } = peers(1);
    const stream = begin(0, 0);
    for (let i = 0; i < 1000; i++) {
      if (sockets[0] !== undefined) sockets[0].bytesRead += 1_000_000 + 600;
      stream.received(1_000_000);
      expect(inbound.held()).toBeLessThan(1_002_000);
      stream.answered(1_000_000);
      expect(inbound.held()).toBe(0);
    }
  });

  test("the connection that holds most is ended first, and no more than needed", () => {
    const { inbound, begin, sockets } = peers(4);
    for (const [peer, bytes] of [300, 900, 500, 100].entries()) begin(peer, bytes);
    inbound.relieve();
    expect(sockets.map((one) => one.destroyed)).toEqual([false, true, false, false]);
    expect(inbound.held()).toBe(900);
    inbound.relieve();
    expect(sockets.filter((one) => one.destroyed)).toHaveLength(1);
  });

  test("whatever comes in which order, it is never negative, and within bounds after relief", () => {
    const step = fc.record({
      peer: fc.nat(2),
      bytes: fc.nat(900),
      size: fc.nat(2000),
      ends: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const { inbound, begin } = peers(3);
        for (const { peer, bytes, size, ends } of steps) {
          const call = begin(peer, bytes);
          call.received(size);
          if (ends) call.end();
          expect(inbound.held()).toBeGreaterThanOrEqual(0);
          inbound.relieve();
          expect(inbound.held()).toBeLessThanOrEqual(1000);
        }
      }),
    );
  });
});
