// How the model does now.

import type { ModelCard } from "../../src/dashboard/api.ts";
import { bytes, milliseconds } from "./format.ts";
import { stats } from "./state.ts";

/** Live latency, requests, failures and memory of a model. */
export function Live({ model }: { model: ModelCard }) {
  const live = stats.value?.models.find(
    (one) => one.model === model.name && one.version === model.version,
  );
  if (live === undefined) return null;
  const { latency, outcomes, readings } = live;
  const failures = Object.entries({ ...outcomes.failed, ...outcomes.refused, ...outcomes.client });
  const [process] = readings.processes;
  const restarts = Object.values(live.restarts).reduce((a, b) => a + b, 0);
  const known = (value: number | null) => (
    <>
      {milliseconds(value)} <small>n = {latency.n}</small>
    </>
  );
  return (
    <section aria-labelledby="live-title">
      <h2 id="live-title">
        Now <small>latency over the last {latency.windowSeconds} s</small>
      </h2>
      <dl class="numbers">
        <Fact name="P50">{known(latency.p50Ms)}</Fact>
        <Fact name="P99">{known(latency.p99Ms)}</Fact>
        <Fact name="Requests">{outcomes.good}</Fact>
        <Fact name="Failures">
          {failures.length === 0 ? 0 : failures.map(([reason, n]) => `${n} ${reason}`).join(", ")}
        </Fact>
        <Fact name="Waiting">{readings.queue.requests}</Fact>
        <Fact name="Memory of its process">
          {process === undefined ? "unknown" : bytes(process.residentBytes)}
        </Fact>
        <Fact name="Restarts">{restarts}</Fact>
      </dl>
      {latency.p99Ms === null && (
        <p class="note">
          P99 needs 1,000 requests in the window, P50 needs 20: with fewer it is a guess.
        </p>
      )}
    </section>
  );
}

function Fact({ name, children }: { name: string; children: preact.ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
