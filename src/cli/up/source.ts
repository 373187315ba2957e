// What the dashboard shows of the registry and the server.

import type { Census } from "../../analysis/skips/skip.ts";
import type { ExampleDigits, ModelCard } from "../../dashboard/api.ts";
import { readObjectives } from "../../dashboard/objectives.ts";
import { servingStatus } from "../../dashboard/on-call-status.ts";
import type { DashboardSource } from "../../dashboard/routes.ts";
import type { CheckReport } from "../../registry/gate.ts";
import type { ModelVersion, Registry } from "../../registry/registry.ts";
import type { ModelServer } from "../../serve/server.ts";
import type { VersionHost } from "../../serve/version-host.ts";
import { digits } from "../../train/data.ts";
import { tensorMetadata } from "../../wire/metadata.ts";
import type { OpenedRollouts } from "../rollouts.ts";

/** Digits of each class that the page offers. */
const PER_CLASS = 2;

/** The dashboard's view of what is served; without a store, of files that nothing else is known of. */
export function dashboardSource(
  registry: Registry | undefined,
  server: ModelServer,
  about: { version: string; startedMs: number; folder: string; rollouts?: OpenedRollouts },
): DashboardSource {
  const text = async (name: string, version: number, role: string): Promise<string | undefined> => {
    const found = await registry?.version(name, version);
    const bytes = found && (await registry?.attachment(found, role));
    return bytes && Buffer.from(bytes).toString("utf8");
  };
  return {
    overview: async () => ({
      server: { version: about.version, startedMs: about.startedMs },
      models: await Promise.all(server.fleet.hosts().map((one) => cardOf(registry, one))),
    }),
    picture: (name, version) => text(name, version, "picture"),
    pictureData: (name, version) => text(name, version, "picture-data"),
    training: (name, version) => text(name, version, "training"),
    examples,
    version: about.version,
    status: () => servingStatus(server),
    objectives: () => readObjectives(about.folder),
    onState: (listener) => server.onState(listener),
    ...(about.rollouts !== undefined && {
      rollouts: about.rollouts.rollouts,
      webhooks: () => about.rollouts?.webhooks() ?? [],
    }),
  };
}

async function cardOf(registry: Registry | undefined, host: VersionHost): Promise<ModelCard> {
  const inputs = tensorMetadata(host.inputs);
  const served = {
    name: host.name,
    version: host.version,
    digest: host.digest,
    inputs,
    outputs: tensorMetadata(host.outputs),
    digits: inputs.length === 1 && inputs[0]?.shape.join() === "-1,1,8,8",
  };
  const version = await registry?.version(host.name, host.version);
  if (registry === undefined || version === undefined) {
    const nothing = { aliases: [], bytes: 0, createdMs: 0, metrics: {}, skips: 0, check: [] };
    return { ...served, ...nothing, trained: false };
  }
  const aliases = await registry.aliases(version.model);
  const census = await read<Census>(registry, version, "census");
  const check = await read<CheckReport>(registry, version, "check");
  return {
    ...served,
    aliases: [...aliases].filter(([, at]) => at === version.version).map(([alias]) => alias),
    bytes: version.bytes,
    createdMs: version.createdMs,
    metrics: version.metadata.metrics,
    skips: census?.counts.total ?? 0,
    check: check?.rules ?? [],
    trained: version.attachments["training"] !== undefined,
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
