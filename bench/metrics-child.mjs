// What counting costs, in a process of its own: `units` nanoseconds of each update and milliseconds of a scrape,
// `server OTLP` a server with a model that answers at once, for `loop`.

import { performance } from "node:perf_hooks";

const [task, ...rest] = process.argv.slice(2);
const found = await { units, loop }[task](...rest);
process.stdout.write(JSON.stringify(found));
process.exit(0);

/** Processor nanoseconds of one call, the median of rounds: what else runs counts little. */
function nanoseconds(calls, once) {
  const rounds = [];
  for (let round = 0; round < 9; round++) {
    const from = process.cpuUsage();
    for (let i = 0; i < calls; i++) once(i);
    const { user, system } = process.cpuUsage(from);
    rounds.push(((user + system) * 1000) / calls);
  }
  return rounds.sort((a, b) => a - b)[4];
}

async function units() {
  const { MetricRegistry } = await import("../dist/observe/registry.js");
  const { exposeText } = await import("../dist/observe/exposition.js");
  const { exposeProtobuf } = await import("../dist/observe/exposition-protobuf.js");
  const { encodeTraces } = await import("../dist/observe/otlp.js");
  const { contextOf } = await import("../dist/observe/trace-context.js");
  const { PHASES } = await import("../dist/observe/trace.js");
  const { ServerMetrics } = await import("../dist/serve/metrics.js");
  const { RequestObserver } = await import("../dist/serve/tracing.js");
  const registry = new MetricRegistry();
  const head = { help: "h", labels: ["model"] };
  const counter = registry.counter({ name: "c", ...head }).with("m");
  const scale = { schema: 5, minExponent: -17, maxExponent: 10 };
  const bounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
  const histogram = registry.histogram({ name: "h", ...head, scale, bounds }).with("m");
  const values = Float64Array.from({ length: 1024 }, () => Math.exp(Math.random() * 8 - 8));
  const exemplar = { traceId: "0".repeat(32), value: 1, atMs: 1 };
  const clock = { nowMs: () => Date.now(), monotonicMs: () => performance.now() };
  const key = { name: "m", version: 1, digest: "sha256:0123456789abcdef", role: "stable" };
  const traces = [];
  const observe = (metrics, sampling, exporter) => {
    const observer = new RequestObserver({
      metrics,
      sampling,
      exporter,
      clock,
      resolve: () => key,
    });
    return () => {
      const startMs = performance.now();
      const watch = observer.begin({ protocol: "rest", requestId: "r", model: "m", startMs });
      watch.target(key);
      watch.received({ rows: 1, shape: "x[3]" });
      for (const phase of PHASES) watch.phase(phase, startMs, startMs + 0.1);
      watch.end({ status: 200, reason: undefined, bytesIn: 1, bytesOut: 1 });
    };
  };
  const off = { ratio: 0, slowMs: Number.POSITIVE_INFINITY, tailPerSecond: 0 };
  const exporter = { push: (trace) => traces.length < 64 && traces.push(trace) };
  const watched = observe(new ServerMetrics(clock), off, undefined);
  const traced = observe(new ServerMetrics(clock), { ...off, ratio: 1 }, exporter);
  const updates = {
    counter: nanoseconds(1e6, () => counter.add()),
    histogram: nanoseconds(1e6, (i) => histogram.record(values[i & 1023])),
    histogramWithExemplar: nanoseconds(1e6, (i) => histogram.record(values[i & 1023], exemplar)),
    wholeRequest: nanoseconds(5e4, watched),
    wholeRequestTraced: nanoseconds(5e4, traced),
    context: nanoseconds(1e5, () => contextOf({}, 1)),
  };
  const source = { resource: {}, scope: { name: "skipway", version: "1" } };
  updates.encodeTrace = nanoseconds(300, () => encodeTraces(source, traces)) / traces.length;
  const many = new ServerMetrics(clock);
  for (let model = 0; model < 50; model++) {
    const version = many.version({ ...key, name: `model-${model}` });
    for (let i = 0; i < 200; i++) {
      const seconds = values[i];
      version.succeeded({ seconds, rows: 1, bytesIn: 1, bytesOut: 1, shape: "x[3]" });
      for (const phase of ["queue", "computeInput", "computeInfer", "computeOutput", "send"]) {
        version.phase(phase, seconds);
      }
      version.batch({ rows: 1, startMs: 0, endMs: 1 });
    }
    version.failed("invalid", false);
  }
  const scrape = {};
  for (const format of ["prometheus", "openmetrics", "protobuf"]) {
    const once = () =>
      format === "protobuf" ? exposeProtobuf(many.collect()) : exposeText(many.collect(), format);
    scrape[format] = { milliseconds: nanoseconds(5, once) / 1e6, bytes: Buffer.byteLength(once()) };
  }
  return { updates, scrape };
}

/** Requests a second of a server with traces of all requests and without, in turns: 16 connections, closed loop. */
async function loop(seconds, rounds, model) {
  const { Agent, createServer, request } = await import("node:http");
  const { ModelServer } = await import("../dist/serve/server.js");
  const { traceSettings } = await import("../dist/observe/otlp-options.js");
  let received = 0;
  const collector = createServer((incoming, response) => {
    incoming.on("data", (chunk) => {
      received += chunk.length;
    });
    incoming.on("end", () => response.end());
  });
  await new Promise((resolve) => collector.listen(0, "127.0.0.1", resolve));
  const otlp = `http://127.0.0.1:${collector.address().port}`;
  const at = {};
  for (const mode of ["off", "on"]) {
    const traces = traceSettings({}, "1", mode === "on" ? { otlp } : {});
    const server = new ModelServer({ version: "1", traces });
    await server.serve({ name: "m", version: 1, path: model, digest: "sha256:00" });
    at[mode] = new URL(`${await server.listen({ port: 0 })}/v2/models/m`);
  }
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  const ask = (url, body) =>
    new Promise((resolve, reject) => {
      const sent = request(
        url,
        { method: body === undefined ? "GET" : "POST", agent },
        (answer) => {
          const chunks = [];
          answer.on("data", (chunk) => chunks.push(chunk));
          answer.on("end", () =>
            resolve({ status: answer.statusCode, body: Buffer.concat(chunks) }),
          );
        },
      );
      sent.on("error", reject);
      sent.end(body);
    });
  const { inputs } = JSON.parse((await ask(at.off)).body);
  const body = JSON.stringify({
    inputs: inputs.map(({ name, datatype, shape }) => {
      const sized = shape.map((dim) => Math.max(1, dim));
      const data = Array(sized.reduce((a, b) => a * b, 1)).fill(0.5);
      return { name, datatype, shape: sized, data };
    }),
  });
  const rates = { off: [], on: [] };
  for (let round = -1; round < Number(rounds); round++) {
    for (const mode of round % 2 === 0 ? ["off", "on"] : ["on", "off"]) {
      const until = performance.now() + Number(seconds) * 1000;
      let answered = 0;
      const url = `${at[mode]}/infer`;
      const client = async () => {
        while (performance.now() < until) {
          const { status } = await ask(url, body);
          if (status === 200) answered++;
        }
      };
      const from = performance.now();
      await Promise.all(Array.from({ length: 16 }, client));
      // The first round warms up.
      if (round >= 0) rates[mode].push((answered * 1000) / (performance.now() - from));
    }
  }
  return { rates, collectorBytes: received };
}
