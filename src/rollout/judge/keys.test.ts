import { describe, expect, test } from "vitest";
import { Suspects } from "./keys.ts";

/** So many batches of these clients without a fault; whether each of them was compared. */
function clean(suspects: Suspects, keys: readonly number[], count: number): boolean[] {
  return Array.from({ length: count }, () => suspects.admits(keys, false));
}

describe("which batches of clients that keep their version are compared", () => {
  test("a bad batch is, and none with one of its clients until each had eight good ones", () => {
    const suspects = new Suspects();
    expect(suspects.admits([1, 2], true)).toBe(true);
    expect(suspects.admits([3, 4], false)).toBe(true);
    expect(clean(suspects, [2, 3], 8)).not.toContain(true);
    expect(suspects.admits([2, 3], false)).toBe(true);
    expect(suspects.admits([1, 3], false)).toBe(false);
  });

  test("where one client alone was slow, the others of his batch are not left out for it", () => {
    const suspects = new Suspects();
    suspects.admits([1, 2, 3], true, 2);
    expect(suspects.admits([1, 3], false)).toBe(true);
    expect(suspects.admits([2], false)).toBe(false);
  });

  test("where a suspect was in a bad batch, he is blamed and not his company", () => {
    const suspects = new Suspects();
    suspects.admits([1], true);
    clean(suspects, [1], 7);
    expect(suspects.admits([1, 2], true)).toBe(false);
    expect(suspects.admits([2], false)).toBe(true);
    expect(clean(suspects, [1], 8)).not.toContain(true);
    expect(suspects.admits([1], false)).toBe(true);
  });

  test("goes on after a restart", () => {
    const before = new Suspects();
    before.admits([1, 2], true);
    clean(before, [1], 7);
    const suspects = new Suspects(JSON.parse(JSON.stringify(before.saved())));
    expect(suspects.admits([2], false)).toBe(false);
    expect(suspects.admits([1], false)).toBe(false);
    expect(suspects.admits([1], false)).toBe(true);
  });
});
