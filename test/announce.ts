// Says, before the tests run, which of them do not: those in a browser are a command of their own.

import { chromiumPath } from "./browser/chromium.ts";

/** Vitest calls it once. */
export function setup(): void {
  const found = chromiumPath();
  const how =
    found === undefined ? "no Chromium was found (apt-get install chromium), then" : "run";
  process.stdout.write(`The tests in a browser are not among these: ${how} npm run test:browser\n`);
}
