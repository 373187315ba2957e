// A request's end behaves as an AbortSignal does, for what the server does with it.

import fc from "fast-check";
import { expect, test } from "vitest";
import { Ending, type EndSignal } from "./end-signal.ts";

type Step = "add 0" | "add 1" | "remove 0" | "remove 1" | "abort";

/** Everything that can be seen of a signal under some steps. */
function seen(signal: EndSignal, abort: (reason: string) => void, steps: readonly Step[]) {
  const heard: string[] = [];
  const listeners = [() => heard.push("0"), () => heard.push("1")] as const;
  const added = new Set<number>();
  for (const [i, step] of steps.entries()) {
    const which = step.endsWith("1") ? 1 : 0;
    if (step === "abort") abort(`reason ${i}`);
    else if (step.startsWith("remove")) {
      signal.removeEventListener("abort", listeners[which]);
      added.delete(which);
    } else if (!added.has(which)) {
      // An EventTarget takes one listener once; nobody here adds it twice.
      added.add(which);
      signal.addEventListener("abort", listeners[which], { once: true });
    }
  }
  return { heard, aborted: signal.aborted, reason: signal.reason };
}

test("does what an AbortSignal does", () => {
  const steps = fc.constantFrom<Step>("add 0", "add 1", "remove 0", "remove 1", "abort");
  fc.assert(
    fc.property(fc.array(steps, { maxLength: 12 }), (list) => {
      const platform = new AbortController();
      const ours = new Ending();
      const wanted = seen(platform.signal, (reason) => platform.abort(reason), list);
      expect(seen(ours, (reason) => ours.abort(reason), list)).toEqual(wanted);
    }),
  );
});
