// What commands that serve have in common: where they listen, and what protects them there.

import type { Command } from "commander";
import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import type { AccessStore } from "../registry/access.ts";
import { checkAddress, type ListenOptions } from "../serve/http/listen.ts";
import type { Certificates, TlsFiles } from "../serve/http/tls.ts";
import type { Io } from "./io.ts";
import { errorLines, findingLines } from "./render/findings.ts";

/** The options that `addProtection` adds. */
export interface ProtectionOptions {
  readonly host: string;
  readonly allowRemote?: boolean;
  readonly requireToken?: boolean;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsClientCa?: string;
}

/** Adds the options to a command. */
export function addProtection(command: Command): Command {
  return command
    .option("--host <name>", "address to listen on", "127.0.0.1")
    .option("--allow-remote", "take plain requests from other machines: a proxy protects them")
    .option("--require-token", "let nobody in without a token, from this machine either")
    .option("--tls-cert <file>", "certificate in PEM, read again when it changes")
    .option("--tls-key <file>", "its private key in PEM")
    .option("--tls-client-ca <file>", "clients must have a certificate that this one signed");
}

/** What protects a server while it runs. */
export interface ServerProtection extends AsyncDisposable {
  /** Tokens and the audit log. */
  readonly access: AccessStore;
  readonly certificates?: Certificates;
}

/**
 * Opens what protects a server, and checks that it could listen. Certificates are renewed when their files
 * change, and on SIGHUP. `listens`: something listens there already, on behalf of this server.
 *
 * @throws SkipwayError `usage` for files or an address that do not do.
 */
export async function openProtection(
  io: Io,
  options: ProtectionOptions,
  where: { folder: string; port: number; listens?: boolean },
): Promise<ServerProtection> {
  const files = tlsFiles(options);
  const certificates = files === undefined ? undefined : await certificatesOf(files);
  // The store takes a while to load: not before the options are known to be right.
  const { AccessStore } = await import("../registry/access.ts");
  const access = await AccessStore.open(where.folder);
  try {
    if (where.listens !== true) {
      const admin = await access.view.hasRole("admin");
      await checkAddress(listenOptions(options, where.port), { tls: files !== undefined, admin });
    }
  } catch (error) {
    await access.close();
    throw error;
  }
  const stop = certificates === undefined ? () => undefined : keepFresh(io, certificates);
  return {
    access,
    ...(certificates === undefined ? {} : { certificates }),
    async [Symbol.asyncDispose]() {
      stop();
      await access.close();
    },
  };
}

/** Where to listen, from the options. */
export function listenOptions(options: ProtectionOptions, port: number): ListenOptions {
  const { host, allowRemote = false, requireToken = false } = options;
  return { host, port, allowRemote, requireToken };
}

async function certificatesOf(files: TlsFiles): Promise<Certificates> {
  const { Certificates } = await import("../serve/http/tls.ts");
  return new Certificates(files);
}

function tlsFiles({ tlsCert, tlsKey, tlsClientCa }: ProtectionOptions): TlsFiles | undefined {
  if (tlsCert === undefined && tlsKey === undefined && tlsClientCa === undefined) return undefined;
  if (tlsCert !== undefined && tlsKey !== undefined) {
    const ca = tlsClientCa === undefined ? {} : { clientCa: tlsClientCa };
    return { cert: tlsCert, key: tlsKey, ...ca };
  }
  throw SkipwayError.fromDiagnostics("usage", [
    diagnostic({
      id: "serve/tls",
      severity: "error",
      where: "--tls-cert and --tls-key",
      text: "TLS needs both, a certificate and its key",
      fix: "Give both, or none.",
    }),
  ]);
}

function keepFresh(io: Io, certificates: Certificates): () => void {
  for (const found of certificates.keyFindings()) {
    for (const line of findingLines(found, io.color)) io.err(`${line}\n`);
  }
  const told = (error: unknown): void => {
    if (error === undefined) io.err("The certificate was renewed.\n");
    else for (const line of errorLines(error, io.color)) io.err(`${line}\n`);
  };
  const reload = (): void => {
    try {
      certificates.reload();
      told(undefined);
    } catch (error) {
      told(error);
    }
  };
  certificates.watch(told);
  process.on("SIGHUP", reload);
  return () => {
    certificates.close();
    process.off("SIGHUP", reload);
  };
}
