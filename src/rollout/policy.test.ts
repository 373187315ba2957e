import { expect, test } from "vitest";
import { SkipwayError } from "../base/errors.ts";
import { DEFAULT_POLICY, readPolicy } from "./policy.ts";

function faultsOf(document: unknown): readonly string[] {
  try {
    readPolicy(document, "policy.json");
    return [];
  } catch (error) {
    return error instanceof SkipwayError ? error.diagnostics.map(({ text }) => text) : ["?"];
  }
}

test("an empty policy is the usual one, and what it became is read as itself", () => {
  expect(readPolicy({}, "p")).toEqual(DEFAULT_POLICY);
  const policy = readPolicy({ shadow: false, gates: { wrong: false }, maxSeconds: 5 }, "p");
  for (const one of [DEFAULT_POLICY, policy]) {
    expect(readPolicy(JSON.parse(JSON.stringify(one)), "p")).toEqual(one);
  }
});

test("what is said takes the place of what is usual", () => {
  const policy = readPolicy(
    {
      steps: [0.02, { share: 0.9, seconds: 0, requests: 10 }],
      shadow: false,
      thresholdMs: 20,
      warmup: 0,
      gates: { disagreement: false, slow: { allowed: 3 } },
    },
    "p",
  );
  expect(policy).toEqual({
    ...DEFAULT_POLICY,
    steps: [
      { share: 0.02, seconds: 10 },
      { share: 0.9, seconds: 0, requests: 10 },
    ],
    shadow: null,
    thresholdMs: 20,
    warmup: 0,
    gates: { disagreement: { off: true }, slow: { allowed: 3 } },
  });
  expect(readPolicy({ shadow: { pairs: 5 } }, "p").shadow?.pairs).toBe(5);
});

test.each<[unknown, RegExp]>([
  [[], /is no JSON object/],
  [{ step: [0.1] }, /step is no field; there are steps/],
  [{ steps: [] }, /steps has no step/],
  [{ steps: [0.5, 0.1] }, /steps do not rise/],
  [{ steps: [{ seconds: 3 }] }, /steps\[0\]\.share is missing/],
  [{ steps: [1.5] }, /steps\[0\]\.share is a number above 0, at most 0\.99/],
  [{ steps: [{ share: 0.1, second: 3 }] }, /steps\[0\]\.second is no field/],
  [{ shadow: 3 }, /shadow is no JSON object/],
  [{ alpha: 1e-300 }, /alpha is a number from 1e-12 to 0\.1/],
  [{ effect: 1.0000000001 }, /effect is a number from 1\.01 to 100/],
  [{ thresholdMs: "p99" }, /thresholdMs is a number of milliseconds above 0, or "stable p99"/],
  [{ gates: { fast: {} } }, /gates\.fast is no field; there are slow/],
  [{ gates: { slow: { weight: 1e-300 } } }, /gates\.slow\.weight is a number from 0\.000001/],
  [{ gates: { slow: { allowed: 1.001 } } }, /gates\.slow\.allowed is a number from 1\.01/],
  [{ gates: { slow: { weigth: 1 } } }, /gates\.slow\.weigth is no field/],
  [{ autoPromote: "yes" }, /autoPromote is true or false/],
  [{ deaths: 1.5 }, /deaths is a whole number/],
  [{ webhooks: [1] }, /webhooks are names/],
])("%j is refused, and the fault named", (document, fault) => {
  expect(faultsOf(document)).toContainEqual(expect.stringMatching(fault));
});

test("every fault is told at once", () => {
  expect(faultsOf({ alpha: 2, effect: 0, nothing: 1 })).toHaveLength(3);
});
