import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { MODELS_PAGE, modelsPage } from "../scripts/models-page.ts";
import { OPS_PAGE, opsPage } from "../scripts/ops-page.ts";

// Pages that are made from the code say what the code says.

test("the page of ops is fresh: npm run generate:ops", () => {
  expect(readFileSync(OPS_PAGE, "utf8")).toBe(opsPage());
});

test("the page of models is fresh: npm run generate:zoo", () => {
  expect(readFileSync(MODELS_PAGE, "utf8")).toBe(modelsPage());
});
