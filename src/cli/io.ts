// Where a command reads from and writes to: the terminal of a person, the pipe of a program, or the
// memory of a test. Results and progress go to different streams, which may lead to different places.

/** The streams and settings of a command. */
export interface Io {
  /** Results. */
  out(text: string): void;
  /** Progress, logs and errors. */
  err(text: string): void;
  /** Whether progress may be redrawn in place. */
  readonly live: boolean;
  /** Whether progress and errors are coloured, and the columns and rows that they have now. */
  readonly color: boolean;
  readonly columns: number;
  readonly rows: number;
  /** The same for results. What is no terminal has room for any width. */
  readonly outColor: boolean;
  readonly outColumns: number;
  /** Whether results may be drawn with characters beyond ASCII. */
  readonly outUnicode: boolean;
  /** Aborted by Ctrl-C, SIGTERM or SIGHUP, for a command that has something to bring to an end then. */
  readonly signal: AbortSignal;
}

/** Options that every command has. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** What a process has of streams and settings. */
interface Host {
  readonly stdout: Stream;
  readonly stderr: Stream;
  readonly env: Readonly<Record<string, string | undefined>>;
}

interface Stream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
  write(text: string): unknown;
  on(event: "error", listener: (error: NodeJS.ErrnoException) => void): unknown;
}

/** Of progress where nobody says how many there are, or a terminal says 0, as new pseudo-terminals do. */
const COLUMNS = 100;
const ROWS = 24;

/** The terminal that the process was started in. */
export function processIo(signal: AbortSignal, host: Host = process): Io {
  const { stdout, stderr, env } = host;
  const terminal = env["TERM"] !== "dumb";
  const color = terminal && (env["NO_COLOR"] ?? "") === "";
  // A reader that has gone (`| head`) is the end of the output, not an error.
  stdout.on("error", (error) => {
    if (error.code === "EPIPE") process.exit(0);
    // A terminal that has gone: SIGHUP says so, and what runs has to be brought to an end.
    if (error.code !== "EIO") throw error;
  });
  // Work goes on when nobody reads its progress: the result is elsewhere.
  stderr.on("error", () => undefined);
  return {
    out: (text) => void stdout.write(text),
    err: (text) => void stderr.write(text),
    live: stderr.isTTY === true && terminal,
    color: stderr.isTTY === true && color,
    // Read each time: the window may be resized.
    get columns() {
      return stderr.columns || COLUMNS;
    },
    get rows() {
      return stderr.rows || ROWS;
    },
    outColor: stdout.isTTY === true && color,
    outColumns: stdout.columns || Number.POSITIVE_INFINITY,
    outUnicode: terminal && isUnicode(env),
    signal,
  };
}

/** By the locale for characters (POSIX, 8.2); where none is set, as in many containers, terminals are Unicode. */
function isUnicode(env: Host["env"]): boolean {
  const names = [env["LC_ALL"], env["LC_CTYPE"], env["LANG"]];
  const locale = names.find((name) => name !== undefined && name !== "") ?? "";
  return locale === "" || /utf-?8/i.test(locale);
}

/** The same with nothing on the error stream. */
export function quietIo(io: Io): Io {
  return { ...io, err: () => undefined, live: false };
}
