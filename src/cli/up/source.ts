// What the dashboard shows of the registry and the server.

import type { Census } from "../../analysis/skips/skip.ts";
import type { ExampleDigits, ModelCard } from "../../dashboard/api.ts";
import type { DashboardSource } from "../../dashboard/routes.ts";
import type { CheckReport } from "../../registry/gate.ts";
import type { ModelVersion, Registry } from "../../registry/registry.ts";
import type { ModelServer } from "../../serve/server.ts";
import type { VersionHost } from "../../serve/version-host.ts";
import { digits } from "../../train/data.ts";
import { tensorMetadata } from "../../wire/metadata.ts";

/** A version with the host that serves it. */
export interface Served {
  readonly version: ModelVersion;
  readonly host: VersionHost;
}

/** Digits of each class that the page offers. */
const PER_CLASS = 2;

/** The dashboard's view of what is served. */
export function dashboardSource(
  registry: Registry,
  server: ModelServer,
  about: { served: readonly Served[]; version: string; startedMs: number },
): DashboardSource {
  const find = (name: string, version: number): Served | undefined =>
    about.served.find((one) => one.version.model === name && one.version.version === version);
  const text = async (served: Served | undefined, role: string): Promise<string | undefined> => {
    const bytes = served && (await registry.attachment(served.version, role));
    return bytes && Buffer.from(bytes).toString("utf8");
  };
  return {
    overview: async () => ({
      server: { version: about.version, startedMs: about.startedMs },
      models: await Promise.all(about.served.map((one) => cardOf(registry, one))),
    }),
    picture: (name, version) => text(find(name, version), "picture"),
    pictureData: (name, version) => text(find(name, version), "picture-data"),
    training: (name, version) => text(find(name, version), "training"),
    examples,
    stats: () => server.stats(),
    onState: (listener) => server.onState(listener),
  };
}

async function cardOf(registry: Registry, { version, host }: Served): Promise<ModelCard> {
  const aliases = await registry.aliases(version.model);
  const census = await read<Census>(registry, version, "census");
  const check = await read<CheckReport>(registry, version, "check");
  const inputs = tensorMetadata(host.inputs);
  return {
    name: version.model,
    version: version.version,
    digest: version.digest,
    aliases: [...aliases].filter(([, at]) => at === version.version).map(([alias]) => alias),
    bytes: version.bytes,
    createdMs: version.createdMs,
    metrics: version.metadata.metrics,
    inputs,
    outputs: tensorMetadata(host.outputs),
    skips: census?.counts.total ?? 0,
    check: check?.rules ?? [],
    trained: version.attachments["training"] !== undefined,
    digits: inputs.length === 1 && inputs[0]?.shape.join() === "-1,1,8,8",
  };
}

/** An attachment that this program wrote as JSON. */
async function read<T>(
  registry: Registry,
  version: ModelVersion,
  role: string,
): Promise<T | undefined> {
  const bytes = await registry.attachment(version, role);
  return bytes && (JSON.parse(Buffer.from(bytes).toString("utf8")) as T);
}

/** A few holdout digits of each class, in file order. */
async function examples(): Promise<ExampleDigits> {
  const data = await digits();
  const size = data.input.shape.reduce((a, b) => a * b, 1);
  const taken = new Map<number, number>();
  const found: { label: number; pixels: number[] }[] = [];
  for (const [i, label] of data.holdout.labels.entries()) {
    const count = taken.get(label) ?? 0;
    if (count >= PER_CLASS) continue;
    taken.set(label, count + 1);
    found.push({ label, pixels: [...data.holdout.inputs.subarray(i * size, (i + 1) * size)] });
  }
  return { digits: found.sort((a, b) => a.label - b.label) };
}
