import { expect, test } from "vitest";
import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { requestErrorOf } from "./errors.ts";

test("an index out of bounds is told as the client's and counted as the model's, so that a candidate is judged for it", () => {
  const found = (id: string): SkipwayError =>
    SkipwayError.fromDiagnostics("input", [
      diagnostic({ id, severity: "error", where: "run", text: "no such row", fix: "Another." }),
    ]);
  expect(requestErrorOf(found("runtime/bad-index"))).toMatchObject({
    status: 400,
    reason: "runtime",
  });
  expect(requestErrorOf(found("feeds/missing"))).toMatchObject({ status: 400, reason: "invalid" });
});
