import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { limits } from "../base/limits.ts";
import { CONTENT_TYPES, exposeText, formatFor } from "./exposition.ts";
import { exposeProtobuf } from "./exposition-protobuf.ts";
import { parseExposition } from "./parse.test-helper.ts";
import { MetricRegistry } from "./registry.ts";

const SCALE = { schema: 5, minExponent: -17, maxExponent: 10 };
const BOUNDS = [0.001, 0.005, 0.1, 1, 10];
const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";

function sample(): MetricRegistry {
  const registry = new MetricRegistry();
  const help = 'Requests\nwith "quotes" and \\';
  registry
    .counter({ name: "req", help, labels: ["model"] })
    .with('a"b\\c\nd')
    .add(3);
  registry.observe({ name: "up", type: "gauge", help: "Up", labels: [] }, () => [
    { labels: {}, value: Number.POSITIVE_INFINITY },
  ]);
  const took = registry.histogram({
    ...{ name: "took_seconds", help: "Time", labels: ["model"] },
    ...{ scale: SCALE, bounds: [0.01, 1] },
  });
  const series = took.with("m");
  series.record(0.001);
  series.record(0.03, { traceId: TRACE, value: 0.03, atMs: 1_700_000_000_123 });
  series.record(2);
  const bare = { name: "nv_time_us", help: "Triton", labels: [], bare: true } as const;
  registry.counter(bare).with().add(7);
  return registry;
}

describe("text", () => {
  test("Prometheus 0.0.4", () => {
    expect(exposeText(sample().collect(), "prometheus")).toMatchInlineSnapshot(`
      "# HELP skipway_metrics_label_overflow_total Times that labels found no series of their own, as their family had its most, and were counted as other
      # TYPE skipway_metrics_label_overflow_total counter
      # HELP req_total Requests\\nwith "quotes" and \\\\
      # TYPE req_total counter
      req_total{model="a\\"b\\\\c\\nd"} 3
      # HELP up Up
      # TYPE up gauge
      up +Inf
      # HELP took_seconds Time
      # TYPE took_seconds histogram
      took_seconds_bucket{model="m",le="0.01"} 1
      took_seconds_bucket{model="m",le="1"} 2
      took_seconds_bucket{model="m",le="+Inf"} 3
      took_seconds_sum{model="m"} 2.031
      took_seconds_count{model="m"} 3
      # HELP nv_time_us Triton
      # TYPE nv_time_us counter
      nv_time_us 7
      "
    `);
  });

  test("OpenMetrics 1.0 has units, exemplars and an end, and no counter without _total", () => {
    expect(exposeText(sample().collect(), "openmetrics")).toMatchInlineSnapshot(`
      "# HELP skipway_metrics_label_overflow Times that labels found no series of their own, as their family had its most, and were counted as other
      # TYPE skipway_metrics_label_overflow counter
      # HELP req Requests\\nwith \\"quotes\\" and \\\\
      # TYPE req counter
      req_total{model="a\\"b\\\\c\\nd"} 3
      # HELP up Up
      # TYPE up gauge
      up +Inf
      # HELP took_seconds Time
      # TYPE took_seconds histogram
      # UNIT took_seconds seconds
      took_seconds_bucket{model="m",le="0.01"} 1
      took_seconds_bucket{model="m",le="1.0"} 2 # {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 0.03 1700000000.123
      took_seconds_bucket{model="m",le="+Inf"} 3
      took_seconds_sum{model="m"} 2.031
      took_seconds_count{model="m"} 3
      # HELP nv_time_us Triton
      # TYPE nv_time_us unknown
      nv_time_us 7
      # EOF
      "
    `);
  });

  test("whatever labels and values there are, a strict reader finds them again", () => {
    const text = fc.string({ unit: "binary", maxLength: 12 });
    const value = fc.oneof(fc.double({ min: 0, noNaN: true }), fc.integer({ min: 0 }));
    const event = fc.tuple(text, text, value, fc.boolean());
    fc.assert(
      fc.property(fc.array(event, { maxLength: 30 }), text, (events, help) => {
        const registry = new MetricRegistry();
        const labels = ["a", "b"];
        const counters = registry.counter({ name: "c", help, labels });
        const histograms = registry.histogram({
          name: "h",
          help,
          labels,
          scale: SCALE,
          bounds: BOUNDS,
        });
        const expected = new Map<string, number[]>();
        const utf8 = (s: string): string => Buffer.from(s, "utf8").toString("utf8");
        for (const [a, b, by, traced] of events) {
          const exemplar = traced ? { traceId: TRACE, value: by, atMs: 5 } : undefined;
          counters.with(a, b).add(by, exemplar);
          histograms.with(a, b).record(by, exemplar);
          const key = JSON.stringify([utf8(a), utf8(b)]);
          expected.set(key, [...(expected.get(key) ?? []), by]);
        }
        const families = registry.collect();
        for (const open of [true, false]) {
          const sent = Buffer.from(exposeText(families, open ? "openmetrics" : "prometheus"));
          const read = parseExposition(sent.toString("utf8"), open);
          const found = read.get(open ? "c" : "c_total")?.samples ?? [];
          const sums = found.map(({ labels: of, value: sum }) => [
            JSON.stringify([of["a"], of["b"]]),
            sum,
          ]);
          const want = [...expected].map(([key, all]) => [key, all.reduce((x, y) => x + y, 0)]);
          expect(sums).toEqual(want);
          const buckets = read.get("h")?.samples.filter((one) => one.name === "h_bucket") ?? [];
          for (const { labels: of, value: count } of buckets) {
            const all = expected.get(JSON.stringify([of["a"], of["b"]])) ?? [];
            const bound = of["le"] === "+Inf" ? Number.POSITIVE_INFINITY : Number(of["le"]);
            expect(count).toBe(all.filter((one) => one <= bound).length);
          }
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe("what a scraper asks for", () => {
  test.each([
    [undefined, "prometheus"],
    ["", "prometheus"],
    ["*/*", "prometheus"],
    ["text/html", "prometheus"],
    ["application/openmetrics-text; version=1.0.0", "openmetrics"],
    [
      "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
      "openmetrics",
    ],
    ["application/openmetrics-text;q=0.2,text/plain;q=0.9", "prometheus"],
    ["application/openmetrics-text;q=0", "prometheus"],
    [
      "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;q=0.5",
      "protobuf",
    ],
    ["application/vnd.google.protobuf;proto=other;encoding=delimited", "prometheus"],
    [`${"text/html,".repeat(200_000)}application/openmetrics-text`, "prometheus"],
  ])("%#", (accept, format) => {
    expect(formatFor(accept)).toBe(format);
  });

  test("the content types name the versions", () => {
    expect(CONTENT_TYPES.prometheus).toContain("0.0.4");
    expect(CONTENT_TYPES.openmetrics).toContain("1.0.0");
  });
});

describe("series", () => {
  test("hostile labels cost a bounded number of series, and nothing is lost from the sum", () => {
    const registry = new MetricRegistry();
    const counters = registry.counter({ name: "c", help: "C", labels: ["shape"] }, 10);
    for (let i = 0; i < 5000; i++) counters.with(`${i}x${"y".repeat(i)}`).add();
    const families = registry.collect();
    const samples = families.find((one) => one.name === "c")?.samples ?? [];
    expect(samples).toHaveLength(11);
    expect(samples.reduce((sum, one) => sum + Number(one.value), 0)).toBe(5000);
    expect(samples.at(-1)).toMatchObject({ labels: { shape: "other" }, value: 4990 });
    for (const { labels } of samples) {
      expect(labels["shape"]?.length).toBeLessThanOrEqual(limits.metricLabelCharsMax);
    }
    const dropped = families.find((one) => one.name === "skipway_metrics_label_overflow");
    expect(dropped?.samples).toEqual([{ labels: { family: "c" }, value: 4990 }]);
  });

  test("a retired series gives its place and its counts; its old handle still counts", () => {
    const registry = new MetricRegistry();
    const head = { help: "H", labels: ["model", "version"] };
    const counters = registry.counter({ name: "c", ...head }, 2);
    const histograms = registry.histogram({ name: "h", ...head, scale: SCALE, bounds: BOUNDS }, 2);
    const old = counters.with("m", "1");
    const oldTimes = histograms.with("m", "1");
    old.add(5);
    oldTimes.record(0.5);
    counters.with("m", "2").add(1);
    histograms.with("m", "2").record(0.5);
    registry.retire({ model: "m", version: "1" });
    // Not yet: the last scrape has not been.
    expect(valuesOf(registry, "c")).toEqual({ "m/1": 5, "m/2": 1 });
    counters.with("m", "3").add(2);
    histograms.with("m", "3").record(0.5);
    old.add(10);
    oldTimes.record(0.5);
    expect(valuesOf(registry, "c")).toEqual({ "m/2": 1, "m/3": 2, "other/other": 15 });
    expect(valuesOf(registry, "h")).toEqual({ "m/2": 1, "m/3": 1, "other/other": 2 });
    // One that comes back is not taken for gone.
    registry.retire({ model: "m", version: "2" });
    expect(counters.with("m", "2").value).toBe(1);
    counters.with("m", "4").add(1);
    expect(valuesOf(registry, "c")).toEqual({ "m/2": 1, "m/3": 2, "other/other": 16 });
  });

  test("any order of finding, counting and retiring keeps the sum", () => {
    const step = fc.tuple(fc.integer({ min: 0, max: 9 }), fc.constantFrom("add", "retire"));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const registry = new MetricRegistry();
        const counters = registry.counter({ name: "c", help: "C", labels: ["m"] }, 3);
        const kept = new Map<number, ReturnType<typeof counters.with>>();
        let total = 0;
        for (const [name, what] of steps) {
          if (what === "retire") registry.retire({ m: String(name) });
          else {
            // Half through handles that were found long ago.
            const handle = total % 2 === 0 ? counters.with(String(name)) : kept.get(name);
            if (handle !== undefined) kept.set(name, handle);
            (handle ?? counters.with(String(name))).add();
            total++;
          }
        }
        const values = Object.values(valuesOf(registry, "c"));
        expect(values.length).toBeLessThanOrEqual(4);
        expect(values.reduce((a, b) => a + b, 0)).toBe(total);
      }),
    );
  });
});

function valuesOf(registry: MetricRegistry, name: string): Record<string, number> {
  const family = registry.collect().find((one) => one.name === name);
  return Object.fromEntries(
    (family?.samples ?? []).map(({ labels, value }) => [
      Object.values(labels).join("/"),
      typeof value === "number" ? value : value.count,
    ]),
  );
}

/** Fields of a message by number, read with the library's reader: varints, doubles, bytes. */
function fieldsOf(bytes: Uint8Array): Map<number, (number | Uint8Array)[]> {
  const reader = new BinaryReader(bytes);
  const fields = new Map<number, (number | Uint8Array)[]>();
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    const value =
      type === WireType.Varint
        ? Number(reader.uint64())
        : type === WireType.Bit64
          ? reader.double()
          : reader.bytes();
    fields.set(field, [...(fields.get(field) ?? []), value]);
  }
  return fields;
}

function messages(fields: Map<number, (number | Uint8Array)[]>, field: number) {
  return (fields.get(field) ?? []).flatMap((one) =>
    typeof one === "number" ? [] : [fieldsOf(one)],
  );
}

const textAt = (fields: Map<number, (number | Uint8Array)[]>, field: number): string =>
  fields
    .get(field)
    ?.map((one) => (typeof one === "number" ? "" : Buffer.from(one).toString()))[0] ?? "";

const zigzag = (value: unknown): number => {
  const n = Number(value);
  return n % 2 === 0 ? n / 2 : -(n + 1) / 2;
};

describe("protobuf", () => {
  test("native buckets add up to what was recorded, whatever that was", () => {
    const values = fc.array(fc.double({ min: 0, max: 2000, noNaN: true }), { maxLength: 60 });
    fc.assert(
      fc.property(values, (list) => {
        const registry = new MetricRegistry();
        const head = { name: "h_seconds", help: "H", labels: ["m"], scale: SCALE, bounds: BOUNDS };
        const series = registry.histogram(head).with("x");
        for (const one of list) series.record(one);
        const reader = new BinaryReader(exposeProtobuf(registry.collect()));
        const family = fieldsOf(reader.bytes());
        expect(reader.pos).toBe(reader.len);
        expect([textAt(family, 1), family.get(3)]).toEqual(["h_seconds", [4]]);
        const [metric = new Map()] = messages(family, 4);
        expect(messages(metric, 1).map((one) => [textAt(one, 1), textAt(one, 2)])).toEqual([
          ["m", "x"],
        ]);
        const [histogram = new Map()] = messages(metric, 7);
        expect(histogram.get(1)).toEqual([list.length]);
        expect(zigzag(histogram.get(5)?.[0])).toBe(5);
        // Walk the spans, as a reader of native histograms does.
        const found = new Map<number, number>();
        const deltas = (histogram.get(13) ?? []).map(zigzag);
        let index = 0;
        let count = 0;
        let at = 0;
        for (const span of messages(histogram, 12)) {
          index += zigzag(span.get(1)?.[0]);
          for (let i = 0; i < Number(span.get(2)?.[0]); i++) {
            count += deltas[at++] ?? Number.NaN;
            found.set(index++, count);
          }
        }
        expect(at).toBe(deltas.length);
        const expected = new Map<number, number>();
        for (const one of list.filter((value) => value > 2 ** -17)) {
          const bucket = Math.min(10 * 32 + 1, Math.ceil(Math.log2(one) * 32 - 1e-9));
          expected.set(bucket, (expected.get(bucket) ?? 0) + 1);
        }
        expect([...found]).toEqual([...expected].sort(([a], [b]) => a - b));
        expect(histogram.get(7)).toEqual([list.filter((value) => value <= 2 ** -17).length]);
      }),
      { numRuns: 60 },
    );
  });

  test("counters, gauges, exemplars and classic buckets say what the text says", () => {
    const reader = new BinaryReader(exposeProtobuf(sample().collect()));
    const families: ReturnType<typeof fieldsOf>[] = [];
    while (reader.pos < reader.len) families.push(fieldsOf(reader.bytes()));
    expect(families.map((one) => textAt(one, 1))).toEqual([
      "req_total",
      "up",
      "took_seconds",
      "nv_time_us",
    ]);
    const value = (i: number, field: number) =>
      messages(messages(families[i] ?? new Map(), 4)[0] ?? new Map(), field)[0] ?? new Map();
    expect(value(0, 3).get(1)).toEqual([3]);
    expect(value(1, 2).get(1)).toEqual([Number.POSITIVE_INFINITY]);
    const buckets = messages(value(2, 7), 3);
    expect(buckets.map((one) => [one.get(1)?.[0], one.get(2)?.[0]])).toEqual([
      [1, 0.01],
      [2, 1],
      [3, Number.POSITIVE_INFINITY],
    ]);
    const [exemplar = new Map()] = messages(buckets[1] ?? new Map(), 3);
    expect([textAt(messages(exemplar, 1)[0] ?? new Map(), 2), exemplar.get(2)]).toEqual([
      TRACE,
      [0.03],
    ]);
    const [time = new Map()] = messages(exemplar, 3);
    expect([time.get(1), Math.round(Number(time.get(2)?.[0]) / 1e6)]).toEqual([
      [1_700_000_000],
      123,
    ]);
  });
});
