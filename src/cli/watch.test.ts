import { afterEach, expect, test } from "vitest";
import { SkipwayError } from "../base/errors.ts";
import { fakeRollout } from "../rollout/document.test-helper.ts";
import type { Io } from "./io.ts";
import { watchRollout } from "./watch.ts";

const before = process.exitCode;
afterEach(() => {
  process.exitCode = before;
});

function memoryIo(signal: AbortSignal = new AbortController().signal) {
  const lines: string[] = [];
  const io: Io = {
    ...{ out: () => undefined, err: (text: string) => void lines.push(text), live: false },
    ...{ color: false, columns: 80, rows: 24, outColor: false, outColumns: 80, outUnicode: true },
    signal,
  };
  return { io, lines };
}

const gone = (): never => {
  throw new SkipwayError("environment", "http://x does not answer");
};

test("a server that is started again is waited for, which is said once, and its end", async () => {
  const { io, lines } = memoryIo();
  const answers = [() => fakeRollout(), gone, gone, () => fakeRollout({ step: 2 })];
  const end = fakeRollout({ phase: "promoted", over: true });
  const last = await watchRollout(io, fakeRollout(), async () =>
    (answers.shift() ?? (() => end))(),
  );
  expect(last).toBe(end);
  const told = lines.filter((line) => line.includes("answer"));
  expect(told).toEqual([
    "http://x does not answer; it is asked again for up to 60 s.\n",
    "The server answers again.\n",
  ]);
  expect(lines.at(-1)).toMatch(/^canary step 3/);
});

test("one that stays away is given up, and a refusal at once", async () => {
  const { io } = memoryIo();
  await expect(watchRollout(io, fakeRollout(), async () => gone(), 100)).rejects.toMatchObject({
    code: "environment",
  });
  let asked = 0;
  const refused = async () => {
    asked++;
    throw new SkipwayError("usage", "no token");
  };
  await expect(watchRollout(io, fakeRollout(), refused)).rejects.toMatchObject({ code: "usage" });
  expect(asked).toBe(1);
});

test("a signal ends the wait for a server that is away", async () => {
  const end = new AbortController();
  const { io } = memoryIo(end.signal);
  const begun = fakeRollout();
  const last = watchRollout(io, begun, async () => {
    end.abort("SIGINT");
    return gone();
  });
  expect(await last).toBe(begun);
});
