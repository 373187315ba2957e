// `skipway rollout …`: rollouts of a running server, and judging one once more from what it left behind.

import { readFile, stat } from "node:fs/promises";
import type { Command } from "commander";
import { diagnostic } from "../../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../../base/errors.ts";
import { printable } from "../../base/printable.ts";
import type { Proposal } from "../../rollout/controller.ts";
import type { RolloutDocument } from "../../rollout/document.ts";
import type { Act, RolloutEffect } from "../../rollout/state.ts";
import { type CommonOptions, type Io, quietIo } from "../io.ts";
import { wholeNumber } from "../options.ts";
import { addRemote, askServer, fieldOf, type RemoteOptions } from "../remote.ts";
import { EXIT } from "../render/findings.ts";
import { listLines, type Paper, planLines, rolloutLines } from "../render/rollout.ts";
import { watchRollout } from "../watch.ts";
import { addReplay } from "./rollout-replay.ts";

interface ServerOptions extends CommonOptions, RemoteOptions {}

interface StartOptions extends ServerOptions {
  readonly to: number;
  readonly policy?: string;
  readonly reason?: string;
  readonly override?: string;
  readonly dryRun?: boolean;
  readonly watch?: boolean;
}

interface ActOptions extends ServerOptions {
  readonly reason: string;
  readonly dryRun?: boolean;
  /** With `freeze`. */
  readonly rollback?: boolean;
}

const POLICY_BYTES_MAX = 1_048_576;

/** Adds the command. */
export function addRollout(program: Command, io: Io): void {
  const rollout = program
    .command("rollout")
    .description("rollouts: a new version beside stable, until it is promoted or taken back");
  addStart(rollout, io);
  withServer(rollout.command("status"), "how a rollout stands; without a name, the last ones")
    .argument("[name]", "the model")
    .option("--watch", "go on until it is over, also over a restart of the server")
    .addHelpText("after", "\nExample:\n  $ skipway rollout status digits --watch\n")
    .action((name: string | undefined, options: ServerOptions & { watch?: boolean }) =>
      status(io, name, options),
    );
  for (const [act, does] of Object.entries(ACTS)) addAct(rollout, io, act as Act, does);
  addReplay(rollout, io);
}

const ACTS: Readonly<Record<Act, string>> = {
  hold: "stops the ramp; the judge goes on",
  resume: "goes on after hold or freeze",
  freeze: "nothing goes forward, not by hand either",
  promote: "makes the candidate stable now",
  abort: "ends it: stable gets everything",
};

function addStart(rollout: Command, io: Io): void {
  withServer(rollout.command("start"), "begins one; the plan is printed first")
    .argument("<name>", "the model")
    .requiredOption("--to <version>", "the candidate", wholeNumber(1, Number.MAX_SAFE_INTEGER))
    .option("--policy <file>", "JSON, docs/guide/rollout.md; all of it optional")
    .option("--reason <text>", "for the record")
    .option("--override <reason>", "roll a version out that has not passed its release check")
    .option("--dry-run", "print the plan and start nothing")
    .option("--watch", "go on until it is over, also over a restart; exit 1 unless it is promoted")
    .addHelpText("after", "\nExample:\n  $ skipway rollout start digits --to 2 --watch\n")
    .action((name: string, options: StartOptions) => start(io, name, options));
}

function addAct(rollout: Command, io: Io, act: Act, does: string): void {
  const command = withServer(rollout.command(act), does)
    .argument("<name>", "the model")
    .option("--reason <text>", "for the record", "")
    .option("--dry-run", "say what would happen and do nothing");
  if (act === "freeze") command.option("--no-rollback", "leave a bad candidate where it is too");
  command
    .addHelpText("after", `\nExample:\n  $ skipway rollout ${act} digits --reason "so"\n`)
    .action((name: string, options: ActOptions) => order(io, act, name, options));
}

function withServer(command: Command, description: string): Command {
  return addRemote(command.description(description))
    .option("--json", "print one JSON document")
    .option("--quiet", "only the result");
}

async function start(given: Io, name: string, options: StartOptions): Promise<void> {
  const io = options.quiet === true ? quietIo(given) : given;
  const path = pathOf(name);
  const { to, reason, override } = options;
  const policy = options.policy === undefined ? undefined : await policyOf(options.policy);
  const body = { to, policy, reason, override };
  // The server's own documents, which the types describe.
  const proposal = (await askServer(options, "POST", path, { ...body, dryRun: true })) as Proposal;
  if (options.dryRun === true) {
    print(given, options, proposal, () => planLines(proposal, paperOf(given)));
    // As the start itself would end.
    if (proposal.plan.refusal !== null) process.exitCode = EXIT.input;
    return;
  }
  io.err(`${planLines(proposal, { ...paperOf(given), color: io.color }).join("\n")}\n\n`);
  const begun = (await askServer(options, "POST", path, body)) as RolloutDocument;
  const last = options.watch === true ? await watch(io, options, begun) : begun;
  print(given, options, last, () => rolloutLines(last, paperOf(given)));
}

async function status(
  given: Io,
  name: string | undefined,
  options: ServerOptions & { watch?: boolean },
): Promise<void> {
  const io = options.quiet === true ? quietIo(given) : given;
  if (name === undefined) {
    const document = await askServer(options, "GET", "rollouts");
    const all = fieldOf(document, "rollouts") as readonly RolloutDocument[];
    print(given, options, document, () => listLines(all, paperOf(given)));
    return;
  }
  const now = (await askServer(options, "GET", pathOf(name))) as RolloutDocument;
  const last = options.watch === true ? await watch(io, options, now) : now;
  print(given, options, last, () => rolloutLines(last, paperOf(given)));
}

async function order(io: Io, act: Act, name: string, options: ActOptions): Promise<void> {
  const { reason, dryRun = false, rollback } = options;
  const body = { reason, dryRun, ...(act === "freeze" && { rollback }) };
  const answer = await askServer(options, "POST", `${pathOf(name)}/${act}`, body);
  print(io, options, answer, () =>
    dryRun
      ? effectLines(fieldOf(answer, "effects") as readonly RolloutEffect[])
      : rolloutLines(answer as RolloutDocument, paperOf(io)),
  );
}

/** Follows a rollout to its end. */
function watch(io: Io, options: ServerOptions, begun: RolloutDocument): Promise<RolloutDocument> {
  const path = `rollouts/${encodeURIComponent(begun.id)}`;
  return watchRollout(io, begun, async () => {
    return (await askServer(options, "GET", path)) as RolloutDocument;
  });
}

async function policyOf(path: string): Promise<unknown> {
  let text: string;
  try {
    if ((await stat(path)).size > POLICY_BYTES_MAX) {
      throw new SkipwayError("input", `${path}: is larger than ${POLICY_BYTES_MAX} bytes`);
    }
    text = await readFile(path, "utf8");
  } catch (cause) {
    if (cause instanceof SkipwayError) throw cause;
    throw new SkipwayError("input", `${path}: ${messageOf(cause)}`, { cause });
  }
  try {
    // Some editors put a mark of the byte order in front, which nobody sees.
    return JSON.parse(text.startsWith("\uFEFF") ? text.slice(1) : text);
  } catch (cause) {
    throw SkipwayError.fromDiagnostics("input", [
      diagnostic({
        id: "rollout/policy",
        severity: "error",
        where: printable(path),
        text: `is no JSON: ${printable(messageOf(cause))}`,
        fix: "docs/guide/rollout.md has an example.",
      }),
    ]);
  }
}

function effectLines(effects: readonly RolloutEffect[]): string[] {
  if (effects.length === 0) return ["Nothing would change."];
  return effects.flatMap((effect) => {
    if (effect.kind === "split") {
      const { stable, candidate, share } = effect.split;
      const rest = candidate === undefined ? "" : `, version ${candidate} ${100 * share} %`;
      return [`split: version ${stable} ${100 * (1 - share)} %${rest}`];
    }
    if (effect.kind === "alias") return [`alias stable: version ${effect.version}`];
    if (effect.kind === "notice") return [`event: ${effect.notice.kind}`];
    return [];
  });
}

function print(
  io: Io,
  { json }: CommonOptions,
  document: unknown,
  lines: () => readonly string[],
): void {
  const text = json === true ? JSON.stringify(document, null, 2) : lines().join("\n");
  io.out(`${text}\n`);
}

function pathOf(name: string): string {
  return `models/${encodeURIComponent(name)}/rollout`;
}

function paperOf({ outColumns, outColor, outUnicode }: Io): Paper {
  return { width: outColumns, color: outColor, unicode: outUnicode };
}
