// `skipway registry …`: models by content, their versions, and the aliases that move between them.

import { resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { census } from "../../analysis/census.ts";
import { pictureOf } from "../../analysis/picture/picture.ts";
import { timeText } from "../../base/clock.ts";
import { diagnostic } from "../../base/diagnostic.ts";
import { SkipwayError } from "../../base/errors.ts";
import { formatBytes } from "../../base/format.ts";
import { printable } from "../../base/printable.ts";
import { tableLines } from "../../base/table.ts";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import { readBounded } from "../../onnx/read.ts";
import { type Digest, digestOf, isDigest } from "../../registry/digest.ts";
import { encodeGolden, recordGolden } from "../../registry/golden.ts";
import type { ModelVersion, Registry } from "../../registry/registry.ts";
import { verifyRegistry } from "../../registry/verify.ts";
import type { CommonOptions, Io } from "../io.ts";
import { LIMIT_HELP, LIMIT_SECONDS, loadLimited } from "../limited.ts";
import { readModelFile } from "../model-file.ts";
import { wholeNumber } from "../options.ts";
import { actorName, openStored, versionNamed } from "../stored.ts";
import { censusAttachments } from "../up/release.ts";

interface StoreOptions extends CommonOptions {
  readonly data: string;
}

/** Adds the command with its parts. */
export function addRegistry(program: Command, io: Io): void {
  const registry = program
    .command("registry")
    .description("registered models: their versions, and the aliases that move between them");
  const part = (usage: string, description: string, example: string): Command =>
    registry
      .command(usage)
      .description(description)
      .option("--data <dir>", "skipway's own folder", ".skipway")
      .option("--json", "print one JSON document")
      .option("--quiet", "no progress")
      .addHelpText("after", `\nExample:\n  $ skipway registry ${example}\n`)
      .exitOverride();
  part("push <file>", "registers a file as the next version", "push model.onnx --name classifier")
    .option("--name <name>", "name of the model; the base name of the file if left out")
    .option("--digest <sha256:…>", "what the file must be: checked before it is read", readDigest)
    .option("--note <text>", "kept with the version")
    .option("--limit <seconds>", LIMIT_HELP, wholeNumber(1, 86_400), LIMIT_SECONDS)
    .action((file: string, options: PushArguments) => push(io, file, options));
  part("list", "all models with their versions and aliases", "list").action((o: StoreOptions) =>
    list(io, o),
  );
  part(
    "show <model>",
    "a model, or one version as NAME@VERSION or NAME@ALIAS",
    "show digits@stable",
  ).action((name: string, options: StoreOptions) => show(io, name, options));
  part("alias", "points an alias to a version", "alias digits stable 2")
    .argument("<model>")
    .argument("<alias>", "such as stable")
    .argument("<version>", "its number", wholeNumber(1, 1_000_000_000))
    .option("--reason <text>", "kept in the log", "moved by hand")
    .option("--override <reason>", "moves it to a version that passed no check; kept in the log")
    .action((model: string, alias: string, version: number, options: AliasArguments) =>
      move(io, { model, alias, version }, options),
    );
  part("log <model>", "every move of its aliases", "log digits").action(
    (model: string, options: StoreOptions) => log(io, model, options),
  );
  part(
    "verify [model]",
    "reads every stored file and compares it with its digest",
    "verify",
  ).action((model: string | undefined, options: StoreOptions) => verify(io, model, options));
}

interface PushArguments extends StoreOptions {
  readonly name?: string;
  readonly digest?: Digest;
  readonly note?: string;
  readonly limit: number;
}

interface AliasArguments extends StoreOptions {
  readonly reason: string;
  readonly override?: string;
}

const UNRECORDED =
  "no answers recorded: the model answers no inputs that could be made up, so nothing compares them later";

async function push(io: Io, path: string, options: PushArguments): Promise<void> {
  if (options.digest !== undefined) await refuseOther(path, options.digest);
  const { name: base, file, model, absolute } = await readModelFile(path);
  refuseOtherBytes(path, file, options.digest);
  const name = options.name ?? base;
  const graph = inferShapes(model.graph);
  const found = census(graph);
  const attachments = censusAttachments(found, pictureOf(graph, found, name));
  const { signal } = io;
  await using session = await loadLimited(io, { bytes: file, name: absolute }, options.limit);
  const golden = await recordGolden(session, { signal });
  if (golden !== undefined) attachments.set("golden", encodeGolden(golden));
  await using registry = await openStored(options.data, "create");
  const notes = options.note === undefined ? [] : [options.note];
  const metadata = { createdBy: actorName(), metrics: {}, notes };
  const { version, created, repaired } = await registry.push(name, file, { metadata, attachments });
  const document = {
    schema: "skipway.registry-push/1",
    ...(await viewOf(registry, version)),
    created,
    repaired,
  };
  const again = created ? "" : " (the same content as before: no new version)";
  answer(io, options, document, [
    `${name} version ${version.version}${again}`,
    version.digest,
    ...(repaired.length === 0
      ? []
      : [`put back, because it was damaged or gone: ${repaired.join(", ")}`]),
    ...(golden === undefined ? [UNRECORDED] : []),
    ...(created ? [`next: skipway check ${name}@${version.version}`] : []),
  ]);
}

/** Before anything reads what the file says. A pipe can be read once only: it is looked at when it is read. */
async function refuseOther(path: string, digest: Digest): Promise<void> {
  const { stat } = await import("node:fs/promises");
  const found = await stat(path).catch(() => undefined);
  if (found?.isFile() === true) refuseOtherBytes(path, await readBounded(resolve(path)), digest);
}

function refuseOtherBytes(path: string, file: Uint8Array, digest: Digest | undefined): void {
  if (digest === undefined) return;
  const found = digestOf(file);
  if (found === digest) return;
  throw SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "registry/other-digest",
      severity: "error",
      where: path,
      text: "is not the file that was meant",
      notes: [`expected ${digest}`, `found ${found}`],
      fix: "Fetch the file again from where it was made.",
    }),
  ]);
}

async function list(io: Io, options: StoreOptions): Promise<void> {
  await using registry = await openStored(options.data, "read");
  const models = await Promise.all(
    (await registry.models()).map(async (name) => {
      const versions = await registry.versions(name);
      const aliases = Object.fromEntries(await registry.aliases(name));
      return { name, versions: versions.length, newest: versions.at(-1)?.version ?? 0, aliases };
    }),
  );
  const rows = models.map(({ name, versions, newest, aliases }) => {
    const named = Object.entries(aliases).map(([alias, version]) => `${alias} → ${version}`);
    return [name, String(versions), String(newest), named.join(", ")];
  });
  const columns = [
    { title: "model" },
    { title: "versions", align: "right" as const },
    { title: "newest", align: "right" as const },
    { title: "aliases", flexible: true },
  ];
  const lines = rows.length === 0 ? ["no models"] : tableLines(columns, rows, io.outColumns);
  answer(io, options, { schema: "skipway.registry-list/1", models }, lines);
}

async function show(io: Io, name: string, options: StoreOptions): Promise<void> {
  await using registry = await openStored(options.data, "read");
  const chosen = name.includes("@")
    ? [await versionNamed(registry, name)]
    : await registry.versions(name);
  if (chosen.length === 0) await versionNamed(registry, name);
  const views = await Promise.all(chosen.map((version) => viewOf(registry, version)));
  const model = chosen[0]?.model ?? name;
  const document = { schema: "skipway.registry-show/1", model, versions: views };
  const lines = views.flatMap((view, i) => [...(i === 0 ? [] : [""]), ...versionLines(view)]);
  answer(io, options, document, lines);
}

type VersionView = Awaited<ReturnType<typeof viewOf>>;

async function viewOf(registry: Registry, version: ModelVersion) {
  const aliases = [...(await registry.aliases(version.model))]
    .filter(([, at]) => at === version.version)
    .map(([alias]) => alias);
  const check = await registry.lastCheck(version);
  const { metadata, createdMs, ...rest } = version;
  return {
    ...rest,
    createdAt: timeText(createdMs),
    aliases,
    metadata,
    check:
      check === undefined
        ? null
        : { passed: check.passed, at: timeText(check.atMs), actor: check.actor },
  };
}

function versionLines(view: VersionView): string[] {
  const { model, version, digest, bytes, createdAt, aliases, metadata, check } = view;
  const named = aliases.length === 0 ? "" : ` (${aliases.join(", ")})`;
  const facts: [string, string][] = [
    ["digest", digest],
    ["size", formatBytes(bytes)],
    ["created", `${createdAt} by ${metadata.createdBy}`],
    ["check", check === null ? "none" : `${check.passed ? "passed" : "failed"} ${check.at}`],
    ...Object.entries(metadata.metrics).map(([key, value]): [string, string] => [key, `${value}`]),
    ...(metadata.notes ?? []).map((note): [string, string] => ["note", note]),
    ["with", Object.keys(view.attachments).sort().join(", ") || "nothing"],
  ];
  const wide = Math.max(...facts.map(([key]) => key.length));
  const lines = facts.map(([key, value]) => `  ${key.padEnd(wide)}  ${printable(value)}`);
  return [`${model} version ${version}${named}`, ...lines];
}

async function move(
  io: Io,
  { model, alias, version }: { model: string; alias: string; version: number },
  options: AliasArguments,
): Promise<void> {
  await using registry = await openStored(options.data, "write");
  const before = (await registry.aliases(model)).get(alias) ?? null;
  const override = options.override !== undefined;
  const reason = options.override ?? options.reason;
  await registry.setAlias(model, alias, version, { actor: actorName(), reason, override });
  const document = { schema: "skipway.registry-alias/1", model, alias, before, version, override };
  const from = before === null ? "" : ` (was ${before})`;
  answer(io, options, document, [`${model} ${alias} → ${version}${from}`]);
}

async function log(io: Io, model: string, options: StoreOptions): Promise<void> {
  await using registry = await openStored(options.data, "read");
  if ((await registry.versions(model)).length === 0) await versionNamed(registry, model);
  const aliases = [...(await registry.aliases(model)).keys()];
  const events = (await Promise.all(aliases.map((alias) => registry.aliasEvents(model, alias))))
    .flat()
    .sort((a, b) => a.atMs - b.atMs)
    .map(({ atMs, ...event }) => ({ at: timeText(atMs), ...event }));
  const rows = events.map((event) => [
    event.at,
    `${event.alias} → ${event.version}`,
    event.actor,
    event.reason,
  ]);
  const columns = [
    { title: "at" },
    { title: "move" },
    { title: "by" },
    { title: "reason", flexible: true },
  ];
  const lines = rows.length === 0 ? ["no moves"] : tableLines(columns, rows, io.outColumns);
  answer(io, options, { schema: "skipway.registry-log/1", model, events }, lines);
}

async function verify(io: Io, model: string | undefined, options: StoreOptions): Promise<void> {
  await using registry = await openStored(options.data, "read");
  if (model !== undefined && (await registry.versions(model)).length === 0) {
    await versionNamed(registry, model);
  }
  const { files, bytes, faults } = await verifyRegistry(registry, model);
  const lines = faults.flatMap(({ where, text }) => [`${where}: ${printable(text)}`]);
  const well = `${files} files with ${formatBytes(bytes)}: ${faults.length === 0 ? "all as they were registered" : `${faults.length} are not as they were registered`}`;
  answer(io, options, { schema: "skipway.registry-verify/1", files, bytes, faults }, [
    ...lines,
    well,
  ]);
  if (faults.length > 0) process.exitCode = 1;
}

function answer(
  io: Io,
  { json }: CommonOptions,
  document: Record<string, unknown>,
  lines: readonly string[],
): void {
  io.out(json === true ? `${JSON.stringify(document, null, 2)}\n` : `${lines.join("\n")}\n`);
}

function readDigest(text: string): Digest {
  const digest = text.includes(":") ? text : `sha256:${text}`;
  if (isDigest(digest)) return digest;
  throw new InvalidArgumentError("it is sha256: and 64 hexadecimal digits");
}
