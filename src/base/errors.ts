// The one error that crosses a public edge. Everything a caller may need to branch on is `code`;
// everything a person needs is in the diagnostics.

import type { Diagnostic } from "./diagnostic.ts";

/**
 * What went wrong, by who can mend it:
 * `usage` the command line, `input` a file or request, `environment` the machine, `check` a release
 * gate that said no, `interrupted` the user, `internal` a defect of skipway.
 */
export type ErrorCode = "usage" | "input" | "environment" | "check" | "interrupted" | "internal";

/** The error thrown at every public edge. */
export class SkipwayError extends Error {
  readonly code: ErrorCode;
  readonly diagnostics: readonly Diagnostic[];

  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; diagnostics?: readonly Diagnostic[] } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "SkipwayError";
    this.code = code;
    this.diagnostics = options.diagnostics ?? [];
  }

  /** An error made of findings about the user's input. The first one becomes the message. */
  static fromDiagnostics(code: ErrorCode, diagnostics: readonly Diagnostic[]): SkipwayError {
    const first = diagnostics[0];
    const message = first === undefined ? code : `${first.where}: ${first.text}`;
    return new SkipwayError(code, message, { diagnostics });
  }
}

/** The text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
