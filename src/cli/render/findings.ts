// Errors and findings as people read them: what, where, why, what to do. The only place that does.

import type { Diagnostic, Severity } from "../../base/diagnostic.ts";
import { type ErrorCode, messageOf, SkipwayError } from "../../base/errors.ts";
import { printable } from "../../base/printable.ts";
import { type Style, styled } from "./style.ts";

const STYLES: Readonly<Record<Severity, Style>> = { error: "red", warning: "yellow", info: "blue" };

/** The lines of a finding, which may quote a model file. */
export function findingLines(one: Diagnostic, color: boolean): string[] {
  const head = `${styled(STYLES[one.severity], one.severity, color)} ${one.id}  ${printable(one.where)}`;
  return [
    head,
    ...indented("", one.text),
    ...one.notes.flatMap((note) => indented("note: ", note)),
    ...(one.fix === undefined ? [] : indented(`${styled("bold", "fix:", color)} `, one.fix)),
  ];
}

/** A text that may have lines of its own, as the messages of the runtime do. */
function indented(before: string, text: string): string[] {
  const [first = "", ...rest] = text.trimEnd().split(/\r?\n/).map(printable);
  return [`  ${before}${first}`, ...rest.map((line) => `    ${line}`)];
}

/** The lines of anything that was thrown. */
export function errorLines(error: unknown, color: boolean): string[] {
  if (error instanceof SkipwayError && error.diagnostics.length > 0) {
    return error.diagnostics.flatMap((one) => findingLines(one, color));
  }
  const head = styled("red", "error", color);
  if (error instanceof SkipwayError && error.code !== "internal") {
    return [`${head} ${printable(error.message)}`];
  }
  const lack = LACKS.get(systemCodeOf(error));
  if (lack !== undefined) return [`${head} ${printable(messageOf(error))}`, `  fix: ${lack}`];
  return [
    `${head} ${printable(messageOf(error))}`,
    "  This is a defect of skipway. Please report it with what you did and this text:",
    ...(error instanceof Error ? (error.stack ?? "").split("\n").slice(1, 4) : []),
  ];
}

/** What the system has no more of, wherever it was asked for, by its name for the error (POSIX, errno.h). */
const LACKS: ReadonlyMap<string, string> = new Map([
  ["EMFILE", "Allow this process more open files (ulimit -n)."],
  ["ENFILE", "End what holds open files; the whole system has no more of them."],
  ["ENOSPC", "Free some space on the disk."],
  ["EDQUOT", "Free some space, or ask for a larger quota."],
  ["EROFS", "Use a folder that can be written to."],
  ["ENOMEM", "Free some memory."],
  ["EAGAIN", "Allow this user more processes (ulimit -u)."],
]);

function systemCodeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

/** Exit codes, as in the manual: docs/guide/command-line.md. */
export const EXIT: Readonly<Record<ErrorCode, number>> = {
  check: 1,
  usage: 2,
  input: 3,
  environment: 4,
  internal: 4,
  interrupted: 130,
};

/** The exit code of anything that was thrown. */
export function exitCodeOf(error: unknown): number {
  return error instanceof SkipwayError ? EXIT[error.code] : EXIT.internal;
}
