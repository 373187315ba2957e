import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { OPS_PAGE, opsPage } from "../scripts/ops-page.ts";

// Pages that are made from the code say what the code says.

test("the page of ops is fresh: npm run generate:ops", () => {
  expect(readFileSync(OPS_PAGE, "utf8")).toBe(opsPage());
});
