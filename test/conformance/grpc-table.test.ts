import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GrpcClient } from "./grpc.ts";
import { GRPC_CHECKS } from "./grpc-checks.ts";
import { type ConformanceServer, startConformance } from "./harness.ts";

// The protocol over gRPC from outside: one server and one connection for all checks.

let running: ConformanceServer;
let client: GrpcClient;
beforeAll(async () => {
  running = await startConformance();
  client = new GrpcClient(running.grpcAt);
});
afterAll(async () => {
  client.close();
  await running.stop();
});

test("every id stands once", () => {
  const ids = GRPC_CHECKS.map((one) => one.id);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids.length).toBeGreaterThanOrEqual(60);
});

describe("gRPC", () => {
  test.each(GRPC_CHECKS)("$id $title", async ({ request, expect: expected }) => {
    const answer = await client.call(request);
    expect(answer, answer.details).toMatchObject({ code: expected.code ?? 0 });
    if (expected.details !== undefined) expect(answer.details).toMatch(expected.details);
    if (expected.message !== undefined) expect(answer.message).toMatchObject(expected.message);
    expected.also?.(answer);
    // Whatever was asked, the next client is served.
    expect((await client.call({ method: "ServerLive" })).code).toBe(0);
  });
});
