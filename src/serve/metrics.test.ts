import { describe, expect, test } from "vitest";
import { exposeText } from "../observe/exposition.ts";
import { type ParsedFamily, parseExposition } from "../observe/parse.test-helper.ts";
import { ProcessWatch } from "../observe/process-metrics.ts";
import type { Definition } from "../observe/registry.ts";
import { ServerMetrics } from "./metrics.ts";

let now = 0;
const clock = { nowMs: () => now, monotonicMs: () => now };
const KEY = { name: "m", version: 1, digest: "sha256:0123456789abcdef", role: "stable" } as const;

const read = (metrics: ServerMetrics) =>
  parseExposition(exposeText(metrics.collect(), "openmetrics"), true);
const sum = (family: ParsedFamily | undefined): number =>
  (family?.samples ?? []).reduce((total, one) => total + one.value, 0);

describe("server metrics", () => {
  test("docs/reference/metrics.md has every family with its type, labels and meaning", async () => {
    const watch = new ProcessWatch(clock);
    const metrics = new ServerMetrics(clock, watch);
    metrics.watchTraces(undefined);
    metrics.watchBudget(() => ({ budgetBytes: 0, usedBytes: 0 }));
    metrics.watchWebhooks(() => []);
    const page = pageOf(metrics.registry.definitions());
    watch.close();
    await expect(page).toMatchFileSnapshot("../../docs/reference/metrics.md");
  });

  test("shapes that clients make up are sixteen, and one for the others", () => {
    const metrics = new ServerMetrics(clock);
    const version = metrics.version(KEY);
    for (let i = 0; i < 500; i++) {
      version.succeeded({ seconds: 1, rows: 2, bytesIn: 3, bytesOut: 4, shape: `x[${i}]` });
    }
    const families = read(metrics);
    expect(families.get("skipway_input_shape_requests")?.samples).toHaveLength(17);
    const names = ["requests", "inferences", "request_bytes", "response_bytes"];
    expect(names.map((name) => sum(families.get(`skipway_${name}`)))).toEqual([
      500, 1000, 1500, 2000,
    ]);
    expect(sum(families.get("skipway_input_shape_requests"))).toBe(500);
  });

  test("Triton's names add up over digests and roles, without shadows, and tell its reasons", () => {
    const metrics = new ServerMetrics(clock);
    const success = { seconds: 0.5, rows: 2, bytesIn: 0, bytesOut: 0 };
    metrics.version(KEY).succeeded(success);
    metrics.version({ ...KEY, digest: "other", role: "candidate" }).succeeded(success);
    metrics.version({ ...KEY, role: "shadow" }).succeeded(success);
    const version = metrics.version(KEY);
    for (const phase of ["queue", "computeInfer"] as const) version.phase(phase, 0.25);
    version.batch({ rows: 4, startMs: 0, endMs: 1 });
    version.failed("queue-full", true);
    version.failed("queue-full", false);
    version.failed("canceled", false);
    version.failed("runtime", false);
    metrics.unknown("not-found");
    const families = read(metrics);
    const of = (name: string) =>
      families
        .get(name)
        ?.samples.map(({ labels, value }) => [labels["reason"] ?? labels["model"], value]);
    expect(of("nv_inference_request_success")).toEqual([["m", 2]]);
    expect(of("nv_inference_count")).toEqual([["m", 4]]);
    expect(of("nv_inference_exec_count")).toEqual([["m", 1]]);
    expect(of("nv_inference_request_duration_us")).toEqual([["m", 1e6]]);
    expect(of("nv_inference_queue_duration_us")).toEqual([["m", 250_000]]);
    expect(of("nv_inference_compute_infer_duration_us")).toEqual([["m", 250_000]]);
    expect(of("nv_inference_request_failure")?.sort()).toEqual([
      ["BACKEND", 1],
      ["CANCELED", 1],
      ["OTHER", 1],
      ["OTHER", 1],
      ["REJECTED", 1],
    ]);
    expect(sum(families.get("nv_inference_request_failure"))).toBe(
      sum(families.get("skipway_request_failures")),
    );
    // In the older text too they have no suffix: that is what the autoscaler's rule asks for.
    const text = exposeText(metrics.collect(), "prometheus");
    expect(text).toContain('\nnv_inference_queue_duration_us{model="m",version="1"} 250000\n');
    expect(text).toContain("# TYPE nv_inference_queue_duration_us counter\n");
  });

  test("versions that are asked in turn keep their own counters, and one that was retired begins anew", () => {
    const metrics = new ServerMetrics(clock);
    const [first, other] = [KEY, { ...KEY, digest: "other" }].map((key) => metrics.version(key));
    expect(other).not.toBe(first);
    expect(metrics.version({ ...KEY })).toBe(first);
    metrics.retire(KEY.name, KEY.version);
    expect(metrics.version(KEY)).not.toBe(first);
  });

  test("saturation is the share of the last seconds in which a batch ran", () => {
    now = 100_000;
    const metrics = new ServerMetrics(clock);
    const version = metrics.version(KEY);
    for (let i = 0; i < 40; i++) {
      now += 1000;
      version.batch({ rows: 1, startMs: now - 250, endMs: now });
    }
    expect(version.saturation).toBeCloseTo(0.25, 1);
    now += 30_000;
    expect(version.saturation).toBe(0);
    // A run that is longer than the window fills it, and no more.
    version.batch({ rows: 1, startMs: now - 60_000, endMs: now });
    expect(version.saturation).toBe(1);
    expect(sum(read(metrics).get("skipway_model_busy_seconds"))).toBeCloseTo(70, 6);
  });

  test("a version's state is asked once for each scrape", () => {
    const metrics = new ServerMetrics(clock);
    let asked = 0;
    const process = { slot: "serving", residentBytes: 5, peakResidentBytes: 6 };
    metrics.watch(() => {
      asked++;
      const queue = { requests: 1, rows: 2, bytes: 3, oldestMs: 4000 };
      const readings = { ready: true, queue, inFlight: 1, processes: [process] };
      return [{ key: KEY, readings }];
    });
    const families = read(metrics);
    expect(asked).toBe(1);
    const names = ["model_ready", "queue_rows", "queue_oldest_seconds", "process_resident_bytes"];
    expect(names.map((name) => sum(families.get(`skipway_${name}`)))).toEqual([1, 2, 4, 5]);
    expect(sum(families.get("nv_inference_pending_request_count"))).toBe(1);
  });
});

/** The reference page. */
function pageOf(definitions: readonly Definition[]): string {
  const rows = definitions.map(({ name, type, labels, help, bare }) => {
    const shown = type === "counter" && bare !== true ? `${name}_total` : name;
    return `| \`${shown}\` | ${type} | ${labels.join(", ")} | ${help} |`;
  });
  return `# Metrics

Everything at \`/metrics\`, in the Prometheus text format, OpenMetrics with exemplars (\`trace_id\`), or protobuf with
native histograms, whichever the scraper prefers. This page is written from the code (\`src/serve/metrics.test.ts\`).
[How it is made](../design/observability.md).

A request counts once, when it is over: \`skipway_requests_total\` and \`skipway_request_failures_total\` together are all
requests to models that were sent. \`digest\` is the beginning of the model's, \`role\` is what the version was to the
request: \`stable\`, \`candidate\`, \`shadow\`, or \`pinned\` where the request named another version.

| name | type | labels | meaning |
| ---- | ---- | ------ | ------- |
${rows.join("\n")}
`;
}
