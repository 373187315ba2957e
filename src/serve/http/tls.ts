// Certificates for HTTP and gRPC from PEM files, which are read again when they change: a certificate that
// lives for weeks must not need a restart.

import { readFileSync, statSync } from "node:fs";
import type https from "node:https";
import { createSecureContext } from "node:tls";
import { type Diagnostic, diagnostic } from "../../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../../base/errors.ts";

/** Where the PEM files are. */
export interface TlsFiles {
  /** The certificate, and those between it and its root. */
  readonly cert: string;
  readonly key: string;
  /** Who signs the certificates of clients; with it, a client without one is refused. */
  readonly clientCa?: string;
}

/** What the files hold, in the form that Node's servers take. */
export interface TlsContext {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca?: Buffer;
  readonly requestCert: boolean;
  readonly rejectUnauthorized: boolean;
  readonly minVersion: "TLSv1.2";
}

/** How often the files are looked at: certificates are renewed days before they end. */
const LOOK_MS = 2000;

/** The certificates of a server, always those of the files. */
export class Certificates {
  readonly #files: TlsFiles;
  readonly #servers = new Set<WeakRef<https.Server>>();
  readonly #listeners = new Set<(context: TlsContext) => void>();
  #context: TlsContext;
  #stamp: string;
  #timer: NodeJS.Timeout | undefined;

  /** @throws SkipwayError `usage` for files that are not there, or do not belong together. */
  constructor(files: TlsFiles) {
    this.#files = files;
    this.#stamp = stampOf(files);
    this.#context = readFiles(files);
  }

  /** What the files hold now. */
  current(): TlsContext {
    return this.#context;
  }

  /** A finding where other users of the machine can read the key. */
  keyFindings(): Diagnostic[] {
    const { key } = this.#files;
    const readable = process.platform !== "win32" && (statSync(key).mode & 0o077) !== 0;
    if (!readable) return [];
    return [
      diagnostic({
        id: "serve/key-readable",
        severity: "warning",
        where: key,
        text: "other users of this machine can read the private key",
        fix: `chmod 600 ${key}`,
      }),
    ];
  }

  /** Gives a server new certificates whenever they change. Connections that are open stay. */
  renew(server: https.Server): void {
    this.#servers.add(new WeakRef(server));
  }

  /** Calls back with new certificates. */
  onRenewed(listener: (context: TlsContext) => void): void {
    this.#listeners.add(listener);
  }

  /**
   * Reads the files again.
   *
   * @throws SkipwayError as the constructor; then what was there stays.
   */
  reload(): void {
    const stamp = stampOf(this.#files);
    const context = readFiles(this.#files);
    this.#stamp = stamp;
    this.#context = context;
    for (const reference of this.#servers) {
      const server = reference.deref();
      if (server === undefined) this.#servers.delete(reference);
      else server.setSecureContext({ ...context });
    }
    for (const listener of this.#listeners) listener(context);
  }

  /** Reloads whenever the files change, and tells what came of it: undefined, or why it was not possible. */
  watch(told: (error: unknown) => void = () => undefined, everyMs: number = LOOK_MS): void {
    this.#timer ??= setInterval(() => {
      try {
        const stamp = stampOf(this.#files);
        if (stamp === this.#stamp) return;
        // One that cannot be used is told once, not each time.
        this.#stamp = stamp;
        this.reload();
        told(undefined);
      } catch (error) {
        told(error);
      }
    }, everyMs).unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

/** Changes with the files, also when a link leads to others (Kubernetes replaces secrets so). */
function stampOf(files: TlsFiles): string {
  const paths = [files.cert, files.key, ...(files.clientCa === undefined ? [] : [files.clientCa])];
  return paths
    .map((path) => {
      const found = statSync(path, { throwIfNoEntry: false });
      return found === undefined ? "-" : `${found.ino}/${found.mtimeMs}/${found.size}`;
    })
    .join(" ");
}

function readFiles({ cert, key, clientCa }: TlsFiles): TlsContext {
  const context: TlsContext = {
    cert: pem(cert, "--tls-cert"),
    key: pem(key, "--tls-key"),
    ...(clientCa === undefined ? {} : { ca: pem(clientCa, "--tls-client-ca") }),
    requestCert: clientCa !== undefined,
    rejectUnauthorized: clientCa !== undefined,
    minVersion: "TLSv1.2",
  };
  try {
    createSecureContext(context);
  } catch (cause) {
    const text = `is no certificate and its key in PEM: ${messageOf(cause)}`;
    throw unusable(`${cert}, ${key}`, text, cause);
  }
  return context;
}

function pem(path: string, option: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw unusable(`${option} ${path}`, `cannot be read: ${messageOf(cause)}`, cause);
  }
}

function unusable(where: string, text: string, cause: unknown): SkipwayError {
  const fix = "Name a certificate (with those between it and its root) and its key, both in PEM.";
  const found = diagnostic({ id: "serve/tls", severity: "error", where, text, fix });
  return new SkipwayError("usage", `${where}: ${text}`, { cause, diagnostics: [found] });
}
