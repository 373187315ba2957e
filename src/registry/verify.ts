// Whether everything that is registered is still what it was.

import { messageOf, SkipwayError } from "../base/errors.ts";
import type { ModelVersion, Registry } from "./registry.ts";

/** What was read, and what is not as it was registered. */
export interface Verification {
  readonly files: number;
  readonly bytes: number;
  readonly faults: readonly { readonly where: string; readonly text: string }[];
}

/** Reads every file of a model, or of all, and compares it with its digest. */
export async function verifyRegistry(registry: Registry, model?: string): Promise<Verification> {
  let files = 0;
  let bytes = 0;
  const faults: { where: string; text: string }[] = [];
  const look = async (
    where: string,
    read: () => Promise<Uint8Array | undefined>,
  ): Promise<void> => {
    files++;
    try {
      bytes += (await read())?.byteLength ?? 0;
    } catch (error) {
      const text = error instanceof SkipwayError ? error.diagnostics[0]?.text : undefined;
      faults.push({ where, text: text ?? messageOf(error) });
    }
  };
  for (const name of model === undefined ? await registry.models() : [model]) {
    for (const version of await registry.versions(name)) {
      const where = `${name} version ${version.version}`;
      await look(where, () => registry.modelBytes(version));
      for (const role of Object.keys(version.attachments)) {
        await look(`${where}, ${role}`, () => registry.attachment(version, role));
      }
      await lookAtCheck(registry, version, where, look);
    }
  }
  return { files, bytes, faults };
}

async function lookAtCheck(
  registry: Registry,
  version: ModelVersion,
  where: string,
  look: (where: string, read: () => Promise<Uint8Array>) => Promise<void>,
): Promise<void> {
  const check = await registry.lastCheck(version);
  if (check !== undefined) await look(`${where}, check`, () => registry.checkReport(check));
}
