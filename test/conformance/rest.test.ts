import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ConformanceServer, startConformance } from "./harness.ts";
import { send } from "./rest.ts";
import { ENDPOINTS } from "./rest-endpoints.ts";
import { HOSTILE } from "./rest-hostile.ts";
import { INFERENCE } from "./rest-infer.ts";

// The protocol over REST from outside: one server for all checks.

let running: ConformanceServer;
beforeAll(async () => {
  running = await startConformance();
});
afterAll(() => running.stop());

const CHECKS = [...ENDPOINTS, ...INFERENCE, ...HOSTILE];

describe("Open Inference Protocol over REST", () => {
  test.each(CHECKS)("$id $title", async ({ request, expect: expected }) => {
    const answer = await send(running.at, request);
    const shown = answer.bytes.toString("latin1").slice(0, 300);
    expect(answer.status, shown).toBe(expected.status);
    if (answer.status >= 400 && request.method !== "HEAD") {
      expect(answer.json, shown).toMatchObject({ error: expect.stringMatching(/./) });
      const fields = Object.keys(Object(answer.json)).filter((key) => !/^(name|ready)$/.test(key));
      expect(fields).toEqual(["error"]);
      expect(shown).not.toMatch(/\/tmp\/|node_modules|\.ts:|at async/);
    }
    if (expected.error !== undefined) {
      expect(answer.json).toMatchObject({ error: expect.stringMatching(expected.error) });
    }
    if (expected.json !== undefined) expect(answer.json).toMatchObject(Object(expected.json));
    for (const [name, value] of Object.entries(expected.headers ?? {})) {
      if (typeof value === "string") expect(answer.headers[name]).toBe(value);
      else expect(String(answer.headers[name])).toMatch(value);
    }
    expected.also?.(answer);
  });

  test("every check has an id of its own", () => {
    const ids = CHECKS.map((one) => one.id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  test("the server answers as before", async () => {
    const body = { inputs: [{ name: "x", shape: [1, 3], datatype: "FP32", data: [1, 2, 3] }] };
    const answer = await send(running.at, { path: "/v2/models/affine/infer", body });
    expect(answer.json).toMatchObject({ outputs: [{ data: [3, 5, 7] }, { data: [-1, -2, -3] }] });
  });
});
