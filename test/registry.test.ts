// `skipway registry` from the command line.

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "libsql";
import { afterAll, beforeAll, expect, test } from "vitest";
import { digestOf } from "../src/registry/digest.ts";
import { Registry } from "../src/registry/registry.ts";
import { Running, command as skipway } from "./cli.ts";
import { affineModel, tinyClassifier } from "./models.ts";

let folder = "";
let store = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skipway-registry-cli-"));
  store = join(folder, "store");
  await writeFile(join(folder, "one.onnx"), tinyClassifier());
  await writeFile(join(folder, "two.onnx"), affineModel());
});
afterAll(() => rm(folder, { recursive: true }));

const registry = (...args: string[]) => skipway("registry", ...args, "--data", store);

async function json(...args: string[]) {
  const { code, out, err } = await registry(...args, "--json");
  return { code, err, document: out === "" ? undefined : JSON.parse(out) };
}

test("a file becomes a version, is shown, gets an alias when it has passed, and is verified", async () => {
  expect((await registry("list")).code).toBe(3);
  const file = join(folder, "one.onnx");
  const digest = digestOf(await readFile(file));
  const first = await json("push", file, "--name", "net", "--note", "from CI", "--digest", digest);
  expect(first.document).toMatchObject({
    model: "net",
    version: 1,
    digest,
    created: true,
    check: null,
  });
  expect((await json("push", file, "--name", "net")).document).toMatchObject({ created: false });
  await json("push", join(folder, "two.onnx"), "--name", "net");

  const refused = await registry("alias", "net", "stable", "1");
  expect(refused).toMatchObject({ code: 1, out: "" });
  expect(refused.err).toContain("skipway check net@1");
  await (async () => {
    await using open = await Registry.open(store);
    const version = await open.version("net", 1);
    if (version === undefined) throw new Error("it was pushed");
    await open.recordCheck(version, { actor: "ci", passed: true, report: Buffer.from("{}") });
  })();
  expect((await json("alias", "net", "stable", "1")).document).toMatchObject({
    before: null,
    version: 1,
  });
  const forced = await json("alias", "net", "stable", "2", "--override", "checked by hand");
  expect(forced.document).toMatchObject({ before: 1, version: 2, override: true });

  expect((await json("list")).document.models).toEqual([
    { name: "net", versions: 2, newest: 2, aliases: { stable: 2 } },
  ]);
  const { versions } = (await json("show", "net")).document;
  expect(versions).toMatchObject([
    {
      version: 1,
      aliases: [],
      check: { passed: true, actor: "ci" },
      metadata: { notes: ["from CI"] },
    },
    { version: 2, aliases: ["stable"], check: null },
  ]);
  expect((await json("show", "net@stable")).document.versions).toMatchObject([{ version: 2 }]);
  expect((await json("log", "net")).document.events).toMatchObject([
    { alias: "stable", version: 1, reason: "moved by hand" },
    { alias: "stable", version: 2, reason: "override: checked by hand" },
  ]);
  const well = await json("verify");
  expect(well).toMatchObject({ code: 0, document: { faults: [] } });
  // A model, its picture in two forms, its census and its answers, twice; and one report.
  expect(well.document.files).toBe(11);
});

test("verify finds a file that was changed, and says which", async () => {
  await using open = await Registry.open(store);
  const version = await open.version("net", 1);
  if (version === undefined) throw new Error("it was pushed");
  await writeFile(await open.modelPath(version), "changed");
  const found = await json("verify", "net");
  expect(found).toMatchObject({ code: 1, document: { faults: [{ where: "net version 1" }] } });
  const again = await registry("push", join(folder, "one.onnx"), "--name", "net");
  expect(again.out).toContain("put back, because it was damaged or gone: model");
  expect((await json("verify", "net")).code).toBe(0);
});

test("a number is a version, also where an alias of an older store is called so", async () => {
  const db = new Database(join(store, "registry.db"));
  db.exec(
    "insert into alias_events (model, alias, version, at_ms, actor, reason) values ('net', '2', 1, 0, 'old', 'old')",
  );
  db.close();
  expect((await json("show", "net@2")).document.versions).toMatchObject([{ version: 2 }]);
  // Other ways to write a number are names.
  expect((await registry("show", "net@0x2")).code).toBe(3);
});

test("pushes of several processes into a folder that is new all go well", async () => {
  const data = join(folder, "parallel");
  const names = ["a", "b", "c", "d"];
  const pushes = names.map(
    (name) =>
      new Running(["registry", "push", join(folder, "one.onnx"), "--name", name, "--data", data])
        .done,
  );
  for (const { code, err } of await Promise.all(pushes))
    expect({ code, err }).toMatchObject({ code: 0 });
  await using open = await Registry.open(data);
  expect(await open.models()).toEqual(names);
});

test.each([
  [["push", "FILE", "--digest", `sha256:${"0".repeat(64)}`], 3, "not the file that was meant"],
  [["push", "FILE", "--digest", "sha256:12"], 2, "64 hexadecimal"],
  [["push", "FILE", "--name", "../x"], 3, "is no name"],
  [["push", "/nowhere/model.onnx"], 3, "nowhere"],
  [["show", "other"], 3, "the models are net"],
  [["show", "net@9"], 3, "its versions are 1, 2"],
  [["alias", "net", "stable", "9"], 3, "not in the registry"],
  [["alias", "net", "stable", "x"], 2, "whole number"],
  [["alias", "net", ".bad", "1"], 3, "Choose another name for the alias"],
  [["alias", "net", "2", "1", "--override", "x"], 3, "a whole number is a version"],
  [["alias", "net", "canary", "1", "--override", " "], 3, "without a reason"],
  [["log", "other"], 3, "the models are net"],
  [["verify", "other"], 3, "the models are net"],
  [["unknown"], 2, "unknown command"],
])("%j ends with %i and says why", async (args, expected, text) => {
  const { code, err } = await registry(
    ...args.map((arg) => (arg === "FILE" ? join(folder, "one.onnx") : arg)),
  );
  expect(err).toContain(text);
  expect(code).toBe(expected);
});
