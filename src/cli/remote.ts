// Asking a running server: what commands that steer one have in common.

import type { Command } from "commander";
import { diagnostic } from "../base/diagnostic.ts";
import { type ErrorCode, messageOf, SkipwayError } from "../base/errors.ts";
import { printable } from "../base/printable.ts";

/** The options that `addRemote` adds. */
export interface RemoteOptions {
  readonly url: string;
  readonly token?: string;
}

/** Adds the options to a command. */
export function addRemote(command: Command): Command {
  return command
    .option("--url <url>", "the server", "http://127.0.0.1:8080")
    .option("--token <secret>", "bearer token; better in the environment as SKIPWAY_TOKEN");
}

const TIMEOUT_MS = 30_000;

/** What a refusal means for the command. */
const CODES: Readonly<Record<number, ErrorCode>> = {
  400: "input",
  401: "usage",
  403: "usage",
  404: "input",
  409: "input",
};

/**
 * Asks the server's `/api/v1`.
 *
 * @throws SkipwayError with what the server says, `environment` where it does not answer.
 */
export async function askServer(
  { url, token }: RemoteOptions,
  method: "GET" | "POST",
  path: string,
  body?: unknown,
): Promise<unknown> {
  const secret = token ?? process.env["SKIPWAY_TOKEN"];
  const target = addressOf(url, path);
  let answer: Response;
  let text: string;
  try {
    answer = await fetch(target, {
      method,
      signal: AbortSignal.timeout(TIMEOUT_MS),
      ...(secret !== undefined && { headers: { authorization: `Bearer ${secret}` } }),
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    text = await answer.text();
  } catch (cause) {
    const inner = cause instanceof Error ? (cause.cause ?? cause) : cause;
    throw refused("environment", target, `does not answer: ${messageOf(inner)}`, {
      fix: "Start a server with skipway serve or skipway up, or name another one with --url.",
      cause,
    });
  }
  const document = parsed(text);
  if (answer.ok && document !== undefined) return document;
  const said = fieldOf(document, "error");
  const why = typeof said === "string" ? said : `answers ${answer.status}`;
  const code = CODES[answer.status] ?? "environment";
  const fix = code === "usage" ? "Give a token with --token or in SKIPWAY_TOKEN." : undefined;
  throw refused(code, target, why, { fix });
}

/** A field of a document that a server sent. */
export function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

function addressOf(url: string, path: string): URL {
  const base = URL.canParse(url) ? new URL(url) : undefined;
  if (base === undefined || !/^https?:$/.test(base.protocol)) {
    throw SkipwayError.fromDiagnostics("usage", [
      diagnostic({
        id: "remote/url",
        severity: "error",
        where: printable(url),
        text: "is no address of a server",
        fix: "Give it as http://HOST:PORT.",
      }),
    ]);
  }
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  return new URL(`api/v1/${path}`, base);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function refused(
  code: ErrorCode,
  target: URL,
  text: string,
  { fix, cause }: { fix?: string | undefined; cause?: unknown },
): SkipwayError {
  const found = diagnostic({
    id: "remote/refused",
    severity: "error",
    where: target.href,
    text: printable(text),
    ...(fix !== undefined && { fix }),
  });
  return new SkipwayError(code, `${found.where}: ${found.text}`, { cause, diagnostics: [found] });
}
