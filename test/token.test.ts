import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { command as skipway } from "./cli.ts";

test("a token is made, replaced, listed and ended, and the record of it is whole", async () => {
  const data = await mkdtemp(join(tmpdir(), "skipway-token-"));
  const token = (...args: string[]) => skipway("token", ...args, "--data", data);
  try {
    const made = await token("create", "ci", "--role", "deployer", "--expires", "1h");
    expect(made).toMatchObject({ code: 0, out: expect.stringMatching(/^skw_\w{49}\n$/) });
    const rotated = await token("rotate", "ci", "--json");
    expect(JSON.parse(rotated.out)).toMatchObject({
      schema: "skipway.token/1",
      token: { role: "deployer" },
    });
    const listed = await token("list");
    expect(listed.out.match(/ci {2}/g)).toHaveLength(2);
    for (const secret of [made.out.trim(), JSON.parse(rotated.out).secret]) {
      expect(listed.out).not.toContain(secret);
    }
    expect((await token("revoke", "ci")).code).toBe(0);
    expect(await token("rotate", "ci")).toMatchObject({
      code: 3,
      err: expect.stringContaining("tokens/unknown"),
    });
    expect((await token("create", "x", "--role", "king")).code).toBe(2);
    const verified = await skipway("audit", "verify", "--data", data, "--json");
    expect(JSON.parse(verified.out)).toMatchObject({ whole: true, entries: 3 });
    const cut = await skipway(
      "audit",
      "verify",
      "--data",
      data,
      "--head",
      `sha256:${"0".repeat(64)}`,
    );
    expect(cut).toMatchObject({ code: 1, out: expect.stringContaining("cut off") });
  } finally {
    await rm(data, { recursive: true });
  }
}, 30_000);
