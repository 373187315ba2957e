// What is said where the disk or the database refuses: each kind of refusal with its own way out.

import { accessSync, constants, existsSync } from "node:fs";
import { dirname } from "node:path";
import { diagnostic } from "../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";

/** Kinds of refusal, by the codes of SQLite and of the operating system; the first that matches. */
const KINDS: readonly { readonly codes: RegExp; readonly text: string; readonly fix: string }[] = [
  {
    codes: /^SQLITE_(BUSY|LOCKED)/,
    text: "other processes write to the store, and it stayed locked",
    fix: "Try again: a write takes moments. If it stays so, end the process that holds the file.",
  },
  {
    codes: /^(SQLITE_FULL|ENOSPC|EDQUOT)/,
    text: "the disk is full",
    fix: "Free some space, or name another folder with --data DIR.",
  },
  {
    codes: /^(SQLITE_READONLY|SQLITE_CANTOPEN|SQLITE_PERM|EACCES|EPERM|EROFS)/,
    text: "the files are not writable for this user",
    fix: "Make the folder and the files in it writable, or name another with --data DIR.",
  },
  {
    codes: /^(SQLITE_IOERR|EIO)/,
    text: "the disk refuses to read or write, as a full one does",
    fix: "See with df whether the disk is full, and free some space; if it is not, the disk may be damaged: name another folder with --data DIR.",
  },
  {
    codes: /^SQLITE_(CORRUPT|NOTADB)/,
    text: "the file is damaged, or is no database",
    fix: "Restore the data folder from a copy, or name another with --data DIR.",
  },
];

const OTHERWISE = "Make the folder writable, free some space, or name another with --data DIR.";

/** The error of a store on a disk that refuses. */
export function diskRefused(path: string, cause: unknown): SkipwayError {
  const kind = kindOf(cause);
  const text = kind === undefined ? messageOf(cause) : `${kind.text} (${messageOf(cause)})`;
  const found = diagnostic({
    id: "registry/unwritable",
    severity: "error",
    where: path,
    text: `the data folder cannot be written: ${text}`,
    fix: kind?.fix ?? OTHERWISE,
  });
  return new SkipwayError("environment", found.text, { cause, diagnostics: [found] });
}

/** The error of a database that cannot be opened. */
export function unusable(
  file: string,
  cause: unknown,
  writable: typeof isWritable = isWritable,
): SkipwayError {
  // SQLite says only that it cannot open it.
  const readOnly = [dirname(file), file].find((path) => existsSync(path) && !writable(path));
  if (readOnly !== undefined) return readOnlyStore(readOnly, cause);
  const message = messageOf(cause);
  if (message.includes("corrupted migrations")) return newer(file, cause);
  const kind = kindOf(cause);
  const text = kind === undefined ? message : `${kind.text} (${message})`;
  const found = diagnostic({
    id: "registry/unusable-store",
    severity: "error",
    where: file,
    text: `the store cannot be opened: ${text}`,
    fix: kind?.fix ?? "Restore the data folder from a copy, or name another with --data DIR.",
  });
  return new SkipwayError("environment", found.text, { cause, diagnostics: [found] });
}

function readOnlyStore(where: string, cause: unknown): SkipwayError {
  const found = diagnostic({
    id: "registry/read-only",
    severity: "error",
    where,
    text: "it cannot be written: its disk is mounted read-only, or this user may not",
    fix: "Make it writable, or name another folder with --data DIR. To look at it as it is: skipway registry list, show, log and verify, skipway rollout replay.",
  });
  return new SkipwayError("environment", `${found.where}: ${found.text}`, {
    cause,
    diagnostics: [found],
  });
}

/** Whether this user may write a file or a folder, on a disk that takes it. */
export function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function newer(file: string, cause: unknown): SkipwayError {
  const found = diagnostic({
    id: "registry/newer-store",
    severity: "error",
    where: file,
    text: "the store was written by a newer skipway",
    fix: "Update skipway, or name another folder with --data DIR.",
  });
  return new SkipwayError("environment", found.text, { cause, diagnostics: [found] });
}

/** The code of an error of SQLite, such as SQLITE_FULL; empty for any other. */
export function sqliteCode(error: unknown): string {
  const code = codeOf(error);
  return code.startsWith("SQLITE_") ? code : "";
}

/** Whether another process writes just now: the same may go well in a moment. */
export function isBusyStore(error: unknown): boolean {
  return sqliteCode(error).startsWith("SQLITE_BUSY");
}

function kindOf(cause: unknown) {
  const code = codeOf(cause);
  return KINDS.find(({ codes }) => codes.test(code));
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}
