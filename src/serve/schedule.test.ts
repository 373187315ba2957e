import { describe, expect, test } from "vitest";
import { deadlineOf, keyOf, priorityOf } from "./schedule.ts";

describe("what a request says about when it is served", () => {
  test.each<[number | bigint | undefined, string | undefined, number | undefined]>([
    [undefined, undefined, undefined],
    [0, undefined, undefined],
    [5000, undefined, 1005],
    [5000n, undefined, 1005],
    [5000, "2", 1002],
    [1000, "2", 1001],
    [undefined, "2", 1002],
    [undefined, "0", undefined],
    [5000, "0", 1005],
    [undefined, "999999999999999", undefined],
    [2n ** 63n, undefined, undefined],
  ])("timeout %s µs and header %s ms", (timeout, header, expected) => {
    const parameters = new Map(timeout === undefined ? [] : [["timeout", timeout] as const]);
    expect(deadlineOf(parameters, header, 1000)).toBe(expected);
  });

  test.each(["5", -1, 1.5, true])("timeout %j is refused", (timeout) => {
    expect(() => deadlineOf(new Map([["timeout", timeout]]), undefined, 0)).toThrow(/timeout/);
    expect(() => priorityOf(new Map([["priority", timeout]]))).toThrow(/priority/);
  });

  test.each(["-1", "1s", "", "1e3", "1, 2"])("header %j is refused", (header) => {
    expect(() => deadlineOf(new Map(), header, 0)).toThrow(/x-request-timeout-ms/);
  });

  test("the key is that of the parameters, or of the header", () => {
    expect(keyOf(new Map(), undefined)).toBeUndefined();
    expect(keyOf(new Map(), "h")).toBe("h");
    expect(keyOf(new Map([["key", 7]]), "h")).toBe("7");
    expect(priorityOf(new Map([["priority", 2]]))).toBe(2);
  });
});
