import { expect, test } from "vitest";
import { Looks } from "./looks.ts";

/** What each look is for, by its time. */
function course(looks: Looks, times: readonly number[]): string[] {
  return times.map((ms) => looks.look(ms) ?? "late");
}

test("a process is watched twice a second and asked once in the period of the probe", () => {
  const looks = new Looks(5000, 0);
  expect(looks.everyMs).toBe(500);
  const seen = course(
    looks,
    Array.from({ length: 40 }, (_, i) => 500 * (i + 1)),
  );
  expect(seen.flatMap((one, i) => (one === "ask" ? [500 * (i + 1)] : []))).toEqual([
    5000, 10_000, 15_000, 20_000,
  ]);
  expect(new Set(seen)).toEqual(new Set(["ask", "watch"]));
});

test("timers that come a little early or late move no question to another look", () => {
  const seen = course(new Looks(1000, 0), [490, 985, 1510, 2004]);
  expect(seen).toEqual(["watch", "ask", "watch", "ask"]);
});

test("a period shorter than half a second is a look and a question each time", () => {
  const looks = new Looks(20, 0);
  expect(looks.everyMs).toBe(20);
  expect(course(looks, [20, 40, 61, 80])).toEqual(["ask", "ask", "ask", "ask"]);
});

test("after the server was held up itself a look says nothing, and the question comes in its time", () => {
  const looks = new Looks(5000, 0);
  expect(course(looks, [500, 1000, 4100, 4600, 5100])).toEqual([
    ...["watch", "watch", "late", "watch", "ask"],
  ]);
});
