import { expect, test } from "vitest";
import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { failureOf, NO_MEMORY } from "./causes.ts";

const FILE = "/srv/my models/a.onnx";

function errorOf(id: string): SkipwayError {
  const text = `has no room: ${FILE}`;
  return SkipwayError.fromDiagnostics("environment", [
    diagnostic({ id, severity: "error", where: FILE, text, fix: "Give it more." }),
  ]);
}

test("a question that had no room is no wrong answer", () => {
  expect(failureOf(errorOf(NO_MEMORY), FILE).kind).toBe("no-memory");
  expect(failureOf(errorOf("serve/probe-mismatch"), FILE).kind).toBe("wrong-answer");
});

test("clients are told no folders", () => {
  const { text } = failureOf(errorOf(NO_MEMORY), FILE);
  expect(text).toContain("a.onnx");
  expect(text).not.toContain("my models");
});
