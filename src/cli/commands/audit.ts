// `skipway audit …`: what was changed, by whom, and whether the record of it is whole.

import type { Command } from "commander";
import { timeText } from "../../base/clock.ts";
import { tableLines } from "../../base/table.ts";
import { AccessStore } from "../../registry/access.ts";
import type { CommonOptions, Io } from "../io.ts";
import { wholeNumber } from "../options.ts";
import { EXIT } from "../render/findings.ts";
import { storeFolder } from "../stored.ts";

interface AuditOptions extends CommonOptions {
  readonly data: string;
}

const SHOWN = 50;
const SHOWN_MAX = 100_000;

/** Adds the command. */
export function addAudit(program: Command, io: Io): void {
  const audit = program.command("audit").description("what was changed on a server, and by whom");
  withCommon(audit.command("list"), "the newest entries, the newest last")
    .option("--last <count>", "how many", wholeNumber(1, SHOWN_MAX), SHOWN)
    .addHelpText("after", "\nExample:\n  $ skipway audit list --last 10\n")
    .action((options: AuditOptions & { last: number }) => list(io, options));
  withCommon(audit.command("verify"), "whether an entry was changed, taken out or moved")
    .option("--head <digest>", "a digest that an earlier check gave: finds a cut at the end too")
    .addHelpText("after", "\nExample:\n  $ skipway audit verify --json\n")
    .action((options: AuditOptions & { head?: string }) => verify(io, options));
}

function withCommon(command: Command, description: string): Command {
  return command
    .description(description)
    .option("--data <dir>", "skipway's own folder", ".skipway")
    .option("--json", "print one JSON document")
    .option("--quiet", "only the result");
}

async function list(io: Io, options: AuditOptions & { last: number }): Promise<void> {
  await using store = await AccessStore.openToRead(storeFolder(options.data));
  const entries = await store.audit.list(options.last);
  if (options.json === true) {
    io.out(`${JSON.stringify({ schema: "skipway.audit/1", entries }, null, 2)}\n`);
    return;
  }
  const columns = [
    { title: "time" },
    { title: "who" },
    { title: "what", flexible: true },
    { title: "result" },
  ];
  const rows = entries.map(({ atMs, actor, action, result }) => [
    timeText(atMs),
    actor,
    action,
    result,
  ]);
  for (const line of tableLines(columns, rows, io.outColumns)) io.out(`${line}\n`);
}

async function verify(io: Io, options: AuditOptions & { head?: string }): Promise<void> {
  await using store = await AccessStore.openToRead(storeFolder(options.data));
  const verdict = await store.audit.verify(options.head);
  const { entries, head, broken } = verdict;
  if (options.json === true) {
    const document = { schema: "skipway.audit-verify/1", whole: broken === undefined, ...verdict };
    io.out(`${JSON.stringify(document, null, 2)}\n`);
  } else if (broken === undefined) {
    io.out(`${entries} entries, whole; head ${head}\n`);
  } else {
    io.out(`entry ${broken.id}: ${broken.text}; the ${entries} before it are whole\n`);
  }
  if (broken !== undefined) process.exitCode = EXIT.check;
}
