// `skipway token …`: who may talk to a server. A secret is shown once, when it is made.

import { userInfo } from "node:os";
import { resolve } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { timeText } from "../../base/clock.ts";
import { tableLines } from "../../base/table.ts";
import { AccessStore } from "../../registry/access.ts";
import { type Issued, ROLES, type Role, roleNamed, type TokenInfo } from "../../registry/tokens.ts";
import type { CommonOptions, Io } from "../io.ts";
import { duration } from "../options.ts";
import { storeFolder } from "../stored.ts";

interface TokenOptions extends CommonOptions {
  readonly data: string;
}

interface IssueOptions extends TokenOptions {
  /** Milliseconds; undefined for ever. */
  readonly expires: number | undefined;
}

/** A quarter of a year: a secret that nobody remembers ends by itself. */
const LIFETIME = "90d";
const OVERLAP = "24h";

/** Adds the command. */
export function addToken(program: Command, io: Io): void {
  const token = program
    .command("token")
    .description("tokens: who may talk to a server, and as what");
  withCommon(token.command("create"), "a new token; prints its secret, once")
    .argument("<name>", "who will use it")
    .requiredOption("--role <role>", ROLES.join(", "), role)
    .addOption(expires("how long its secret works: 90d, 12h, never"))
    .addHelpText("after", "\nExample:\n  $ skipway token create ci --role deployer\n")
    .action((name: string, options: IssueOptions & { role: Role }) =>
      issue(io, options, `token create ${name} --role ${options.role}`, ({ tokens }) =>
        tokens.create(name, options.role, lifetime(options)),
      ),
    );
  withCommon(token.command("rotate"), "a new secret; the one before works a little longer")
    .argument("<name>", "the token")
    .addOption(expires("how long the new secret works: 90d, 12h, never"))
    .addOption(timeOption("--overlap <time>", "how long the old one still works", OVERLAP))
    .addHelpText("after", "\nExample:\n  $ skipway token rotate ci --overlap 1h\n")
    .action((name: string, options: IssueOptions & { overlap: number | undefined }) =>
      issue(io, options, `token rotate ${name}`, ({ tokens }) =>
        tokens.rotate(name, { ...lifetime(options), overlapMs: options.overlap ?? Infinity }),
      ),
    );
  withCommon(token.command("revoke"), "end a token and all its secrets, within a second")
    .argument("<name>", "the token")
    .addHelpText("after", "\nExample:\n  $ skipway token revoke ci\n")
    .action((name: string, options: TokenOptions) => revoke(io, name, options));
  withCommon(token.command("list"), "all tokens, without their secrets")
    .addHelpText("after", "\nExample:\n  $ skipway token list --json\n")
    .action((options: TokenOptions) => list(io, options));
}

function withCommon(command: Command, description: string): Command {
  return command
    .description(description)
    .option("--data <dir>", "skipway's own folder", ".skipway")
    .option("--json", "print one JSON document")
    .option("--quiet", "only the result");
}

function expires(description: string): Option {
  return timeOption("--expires <time>", description, LIFETIME);
}

/** The help shows the default as it would be written. */
function timeOption(flags: string, description: string, usual: string): Option {
  return new Option(flags, description).argParser(duration).default(duration(usual), usual);
}

function role(text: string): Role {
  const found = roleNamed(text);
  if (found !== undefined) return found;
  throw new InvalidArgumentError(`it is one of ${ROLES.join(", ")}`);
}

function lifetime({ expires }: IssueOptions): { lifetimeMs?: number } {
  return expires === undefined ? {} : { lifetimeMs: expires };
}

/** Who is at this machine's keyboard, as the audit log names them. */
function localActor(): string {
  try {
    return `local:${userInfo().username}`;
  } catch {
    // In a container a user may be a number without a name.
    return `local:${process.getuid?.() ?? "unknown"}`;
  }
}

async function issue(
  io: Io,
  options: IssueOptions,
  action: string,
  make: (store: AccessStore) => Promise<Issued>,
): Promise<void> {
  await using store = await AccessStore.open(resolve(options.data));
  const { token, secret } = await make(store);
  const id = token.secrets.at(-1)?.id ?? "";
  const details = { role: token.role, secret: id };
  await store.audit.append({ actor: localActor(), action, result: "done", details });
  if (options.json === true) {
    io.out(`${JSON.stringify({ schema: "skipway.token/1", token, secret }, null, 2)}\n`);
    return;
  }
  io.out(`${secret}\n`);
  if (options.quiet === true) return;
  io.err(`This is the secret of "${token.name}" (${token.role}). It is not shown again.\n`);
}

async function revoke(io: Io, name: string, options: TokenOptions): Promise<void> {
  await using store = await AccessStore.open(storeFolder(options.data));
  const token = await store.tokens.revoke(name);
  const action = `token revoke ${name}`;
  await store.audit.append({
    actor: localActor(),
    action,
    result: "done",
    details: { role: token.role },
  });
  if (options.json === true) {
    io.out(`${JSON.stringify({ schema: "skipway.token/1", token }, null, 2)}\n`);
  } else if (options.quiet !== true) io.err(`"${name}" is revoked.\n`);
}

async function list(io: Io, options: TokenOptions): Promise<void> {
  await using store = await AccessStore.openToRead(storeFolder(options.data));
  const tokens = await store.tokens.list();
  if (options.json === true) {
    io.out(`${JSON.stringify({ schema: "skipway.tokens/1", tokens }, null, 2)}\n`);
    return;
  }
  const columns = ["name", "role", "secret", "expires", "last used"].map((title) => ({ title }));
  for (const line of tableLines(columns, tokens.flatMap(rowsOf), io.outColumns))
    io.out(`${line}\n`);
}

/** A row for each secret, and one for a token that has none any more. */
function rowsOf(token: TokenInfo): string[][] {
  if (token.secrets.length === 0) {
    const state = token.revokedMs === undefined ? "expired" : `revoked ${dateOf(token.revokedMs)}`;
    return [[token.name, token.role, "-", state, "-"]];
  }
  return token.secrets.map((one) => [
    token.name,
    token.role,
    one.id,
    one.expiresMs === undefined ? "never" : dateOf(one.expiresMs),
    one.lastUsedMs === undefined ? "never" : dateOf(one.lastUsedMs),
  ]);
}

function dateOf(ms: number): string {
  return timeText(ms).slice(0, 16).replace("T", " ");
}
