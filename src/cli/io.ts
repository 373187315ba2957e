// Where a command reads from and writes to: the terminal of a person, the pipe of a program, or the
// memory of a test.

/** The streams and settings of a command. */
export interface Io {
  /** Results. */
  out(text: string): void;
  /** Progress, logs and errors. */
  err(text: string): void;
  /** Whether progress may be redrawn in place. */
  readonly live: boolean;
  readonly color: boolean;
  readonly columns: number;
  /** Aborted by Ctrl-C or SIGTERM. */
  readonly signal: AbortSignal;
}

/** Options that every command has. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** The terminal that the process was started in. */
export function processIo(signal: AbortSignal): Io {
  const { stdout, stderr, env } = process;
  const colorWanted = env["NO_COLOR"] === undefined || env["NO_COLOR"] === "";
  // A reader that has gone (`| head`) is the end of the output, not an error.
  stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
  return {
    out: (text) => void stdout.write(text),
    err: (text) => void stderr.write(text),
    live: stderr.isTTY === true && env["TERM"] !== "dumb",
    color: stderr.isTTY === true && colorWanted && env["TERM"] !== "dumb",
    columns: stderr.columns ?? 100,
    signal,
  };
}

/** The same with nothing on the error stream. */
export function quietIo(io: Io): Io {
  return { ...io, err: () => undefined, live: false };
}
