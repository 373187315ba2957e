// Where a server may listen, and how it is reached then: from this machine alone unless it is told otherwise.

import { createServer } from "node:net";
import { diagnostic } from "../../base/diagnostic.ts";
import { SkipwayError } from "../../base/errors.ts";
import { LOOPBACK, type Reach } from "../auth/decide.ts";
import { portError } from "../errors.ts";

/** Where a server listens. */
export interface ListenOptions {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** 0 chooses a free one. */
  readonly port: number;
  /** Take requests from other machines in plain HTTP: a proxy in front has TLS, and decides who may ask. */
  readonly allowRemote?: boolean;
  /** Let nobody in without a token, on loopback too, and behind a proxy. */
  readonly requireToken?: boolean;
}

/** What a server has to protect itself with. */
export interface Protection {
  readonly tls: boolean;
  /** Whether there is an admin's token that works. */
  readonly admin: boolean;
}

/** The host of a server that is told none. */
export const DEFAULT_HOST = "127.0.0.1";

/**
 * Whether a server could listen there now: asked before work that would be in vain.
 *
 * @throws SkipwayError as `listen` would.
 */
export async function checkAddress(options: ListenOptions, has: Protection): Promise<void> {
  reachOf(options, has);
  const { host = DEFAULT_HOST, port } = options;
  await new Promise<void>((resolve, reject) => {
    const probe = createServer();
    probe.once("error", (cause) => reject(portError(host, port, cause)));
    probe.listen({ host, port }, () => probe.close(() => resolve()));
  });
}

/**
 * How a server that listens there is reached.
 *
 * @throws SkipwayError `usage` for a host that other machines reach, where nothing protects it and nobody
 * said that something else does.
 */
export function reachOf(options: ListenOptions, { tls, admin }: Protection): Reach {
  const { host = DEFAULT_HOST, allowRemote = false, requireToken = false } = options;
  const local = LOOPBACK.has(host);
  // Nobody could come in, not even to make the first token: that is done on the command line.
  if (requireToken && !admin) throw refused("serve/no-token", "--require-token", NO_ADMIN);
  if (local) return requireToken ? "tokens" : "loopback";
  if (allowRemote) return requireToken ? "tokens" : "proxy";
  if (tls && admin) return "tokens";
  const missing = [tls ? "" : "no TLS", admin ? "" : "no admin token"].filter(Boolean);
  throw refused("serve/remote-host", `--host ${host}`, {
    text: `other machines could reach this address, and there is ${missing.join(" and ")}`,
    fix: "Leave --host out, give --tls-cert, --tls-key and a data folder with an admin token (skipway token create NAME --role admin), or add --allow-remote if a proxy in front takes care of both.",
  });
}

const NO_ADMIN = {
  text: "there is no admin token that works",
  fix: "Make one: skipway token create NAME --role admin --data DIR.",
};

function refused(id: string, where: string, about: { text: string; fix: string }): SkipwayError {
  return SkipwayError.fromDiagnostics("usage", [
    diagnostic({ id, severity: "error", where, ...about }),
  ]);
}
