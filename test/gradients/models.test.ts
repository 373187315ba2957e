import { expect, test } from "vitest";
import { MODELS } from "./model-cases.ts";
import { checkForms, checkModel } from "./models.ts";

// All parameters of small networks. More elements of each, and the zoo: npm run test:gradients.

const CASES = MODELS.map((one) => [one.name, one] as const);

test.each(CASES)("every parameter of a whole network: %s", async (_, one) => {
  expect((await checkModel(one, { entries: 1 })).faults).toEqual([]);
});

test.each(CASES)("in every form of export: %s", async (_, one) => {
  expect((await checkForms(one, { entries: 0 })).faults).toEqual([]);
});
