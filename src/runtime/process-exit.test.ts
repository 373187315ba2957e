import { expect, test } from "vitest";
import { died, exitOf, type SeenExit } from "./process-exit.ts";

const seen = (fields: Partial<SeenExit>): SeenExit => ({
  ...{ code: null, signal: null, lastWords: "", outOfMemoryKill: false, asked: false },
  ...fields,
});

test.each<[string, Partial<SeenExit>, string]>([
  ["leaves", { code: 0 }, "exit"],
  ["leaves with an error", { code: 1, lastWords: "Error: no" }, "exit"],
  ["is killed by a person", { signal: "SIGKILL" }, "killed"],
  [
    "is killed by us while memory ran out elsewhere",
    { signal: "SIGKILL", outOfMemoryKill: true, asked: true },
    "killed",
  ],
  [
    "is killed by the system for memory",
    { signal: "SIGKILL", outOfMemoryKill: true },
    "out-of-memory",
  ],
  [
    "is killed for memory inside an init process",
    { code: 137, outOfMemoryKill: true },
    "out-of-memory",
  ],
  ["reads where nothing is", { signal: "SIGSEGV" }, "crash"],
  ["reads where nothing is, inside a shell", { code: 139 }, "crash"],
  ["aborts", { signal: "SIGABRT", lastWords: "terminate called" }, "crash"],
  [
    "has no memory in C++",
    { signal: "SIGABRT", lastWords: "what(): std::bad_alloc" },
    "out-of-memory",
  ],
  [
    "has no memory in V8",
    { signal: "SIGABRT", lastWords: "FATAL ERROR: JavaScript heap out of memory" },
    "out-of-memory",
  ],
  ["is asked to end", { code: 0, asked: true }, "exit"],
])("a process that %s", (_how, fields, cause) => {
  const exit = exitOf(seen(fields));
  expect(exit.cause).toBe(cause);
  const [found] = died(exit).diagnostics;
  const of = cause === "out-of-memory" ? "out-of-memory" : "died";
  expect(found?.id).toBe(`runtime/process-${of}`);
  if (cause === "out-of-memory") expect(found?.text).toContain("memory ran out");
});
