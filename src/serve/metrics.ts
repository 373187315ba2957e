// The server's metrics. Names of the Triton server stand beside ours where they mean the same, so that
// dashboards made for it go on working.

import type { Family, Labels, Sample } from "../observe/exposition.ts";
import type { ModelStats } from "./hosting.ts";
import type { VersionHost } from "./version-host.ts";

/** Upper bounds in seconds: from below a tiny model to a request that nobody waits for. */
const BOUNDS = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
] as const;

/** All families, from what the hosts have counted. */
export function serverMetrics(hosts: readonly VersionHost[]): Family[] {
  const all = hosts.map((host) => ({ host, stats: host.stats(), labels: labelsOf(host) }));
  const samples = (value: (stats: ModelStats) => number | undefined): Sample[] =>
    all.flatMap(({ stats, labels }) => {
      const found = value(stats);
      return found === undefined ? [] : [{ labels, value: found }];
    });
  const failures = all.flatMap(({ stats, labels }) =>
    Object.entries(stats.failures).map(([reason, value]) => ({
      labels: { ...labels, reason },
      value,
    })),
  );
  const gauge = (
    name: string,
    help: string,
    value: (s: ModelStats) => number | undefined,
  ): Family => ({ name, type: "gauge", help, samples: samples(value) });
  const counter = (name: string, help: string, list: Sample[]): Family => ({
    name,
    type: "counter",
    help,
    samples: list,
  });
  return [
    counter(
      "skipway_requests",
      "Requests answered by the model",
      samples((s) => s.requests),
    ),
    counter("skipway_request_failures", "Requests refused or failed, by reason", failures),
    {
      name: "skipway_request_duration_seconds",
      type: "histogram",
      help: "Seconds from the parsed request to the answer of the model",
      bounds: BOUNDS,
      scale: 0.001,
      samples: all.map(({ host, labels }) => ({ labels, value: host.counters.durations })),
    },
    gauge("skipway_requests_waiting", "Requests waiting for the model", (s) => s.queued),
    gauge("skipway_model_ready", "1 while the model answers", (s) => Number(s.state === "ready")),
    counter(
      "skipway_process_restarts",
      "Deaths of the model's process",
      samples((s) => s.restarts),
    ),
    gauge(
      "skipway_process_resident_bytes",
      "Resident bytes of the model's process",
      (s) => s.memory?.residentBytes,
    ),
    gauge(
      "skipway_process_peak_resident_bytes",
      "Most resident bytes of the model's process",
      (s) => s.memory?.peakResidentBytes,
    ),
    gauge("nv_inference_pending_request_count", "Requests waiting for the model", (s) => s.queued),
  ];
}

function labelsOf({ model }: VersionHost): Labels {
  return { model: model.name, version: String(model.version) };
}
