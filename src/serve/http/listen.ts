// Where a server may listen: on this machine alone unless it is told otherwise.

import { createServer } from "node:net";
import { diagnostic } from "../../base/diagnostic.ts";
import { SkipwayError } from "../../base/errors.ts";
import { portError } from "../errors.ts";

/** Where a server listens. */
export interface ListenOptions {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** 0 chooses a free one. */
  readonly port: number;
  /** Take requests from other machines, although there are no tokens and no TLS. */
  readonly allowRemote?: boolean;
}

/** The host of a server that is told none. */
export const DEFAULT_HOST = "127.0.0.1";
/** Names of this machine that no other reaches. */
export const LOOPBACK: ReadonlySet<string> = new Set(["127.0.0.1", "localhost", "::1"]);

/**
 * Whether a server could listen there now: asked before work that would be in vain.
 *
 * @throws SkipwayError as `listen` would.
 */
export async function checkAddress(options: ListenOptions): Promise<void> {
  refuseRemote(options);
  const { host = DEFAULT_HOST, port } = options;
  await new Promise<void>((resolve, reject) => {
    const probe = createServer();
    probe.once("error", (cause) => reject(portError(host, port, cause)));
    probe.listen({ host, port }, () => probe.close(() => resolve()));
  });
}

/** @throws SkipwayError `usage` for a host that other machines reach, without leave. */
export function refuseRemote({ host = DEFAULT_HOST, allowRemote = false }: ListenOptions): void {
  if (LOOPBACK.has(host) || allowRemote) return;
  throw SkipwayError.fromDiagnostics("usage", [
    diagnostic({
      id: "serve/remote-host",
      severity: "error",
      where: `--host ${host}`,
      text: "other machines could reach this address, and there are no tokens and no TLS yet",
      fix: "Leave --host out, or add --allow-remote if a proxy in front takes care of both.",
    }),
  ]);
}
