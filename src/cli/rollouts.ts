// What commands that serve have in common: rollouts, where they are kept, and who is told of them.

import { join } from "node:path";
import { systemClock } from "../base/clock.ts";
import { readObjectives } from "../dashboard/objectives.ts";
import { NO_OBJECTIVES } from "../observe/slo.ts";
import type { Registry } from "../registry/registry.ts";
import { RolloutStore } from "../registry/rollouts.ts";
import { Rollouts } from "../rollout/controller.ts";
import { MemoryRecords } from "../rollout/memory-records.ts";
import { Outbox } from "../rollout/outbox.ts";
import { releasesOf } from "../rollout/releases.ts";
import { registerRollouts } from "../rollout/routes.ts";
import { readWebhooks } from "../rollout/webhooks.ts";
import type { WebhookReadings } from "../serve/metric-readings.ts";
import type { ModelServer } from "../serve/server.ts";
import { packageVersion } from "./version.ts";

/** The rollouts of a server. Closed after it. */
export interface OpenedRollouts extends AsyncDisposable {
  readonly rollouts: Rollouts;
  /** How the receivers of events do. */
  webhooks(): readonly WebhookReadings[];
}

/**
 * Opens the rollouts of a server, and adds their routes.
 *
 * @throws SkipwayError `input` for a `webhooks.json` that cannot be used, `environment` for a store that cannot.
 */
export async function openRollouts(
  server: ModelServer,
  options: {
    /** Left out where files are served: what happens is then kept as long as the server runs. */
    readonly registry: Registry | undefined;
    readonly folder: string;
    readonly nodePool: string;
    /** Told of a webhook that fails, a line each. */
    readonly notice?: ((line: string) => void) | undefined;
  },
): Promise<OpenedRollouts> {
  const { registry, folder, nodePool, notice } = options;
  const webhooks = await readWebhooks(join(folder, "webhooks.json"));
  const store = registry && (await RolloutStore.open(folder));
  const records = store ?? new MemoryRecords();
  const outbox = new Outbox(records, webhooks, { clock: systemClock, notice });
  server.watchWebhooks(() => outbox.readings());
  const rollouts = new Rollouts({
    fleet: server.fleet,
    records,
    clock: systemClock,
    releases: registry && releasesOf(registry),
    nodePool,
    webhooks: webhooks.map(({ name }) => name),
    build: packageVersion(),
    objectives: async (model) => {
      const { models } = await readObjectives(folder);
      return models[model] ?? models["*"] ?? NO_OBJECTIVES;
    },
    onWritten: () => outbox.look(),
  });
  registerRollouts(server.app, rollouts);
  return {
    rollouts,
    webhooks: () => outbox.readings(),
    async [Symbol.asyncDispose]() {
      await rollouts.close();
      await outbox.close();
      await store?.close();
    },
  };
}
