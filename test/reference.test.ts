import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { expectedStructure, GRADIENTS_PAGE, structureOf } from "../scripts/gradients-page.ts";
import { MODELS_PAGE, modelsPage } from "../scripts/models-page.ts";
import { OPS_PAGE, opsPage } from "../scripts/ops-page.ts";

// Pages that are made from the code say what the code says.

test("the page of ops is fresh: npm run generate:ops", () => {
  expect(readFileSync(OPS_PAGE, "utf8")).toBe(opsPage());
});

// Errors are of one machine; ops, forms and cases are of the code.
test("the page of gradients has the ops, forms and cases of today: npm run generate:gradients", () => {
  expect(structureOf(readFileSync(GRADIENTS_PAGE, "utf8"))).toEqual(expectedStructure());
});

test("the page of models is fresh: npm run generate:zoo", () => {
  expect(readFileSync(MODELS_PAGE, "utf8")).toBe(modelsPage());
});
