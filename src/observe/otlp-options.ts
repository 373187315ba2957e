// Where traces are sent, from the environment variables of OpenTelemetry (opentelemetry.io, "OTLP Exporter
// Configuration", "General SDK Configuration") and one option of ours.

import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import type { OtlpOptions } from "./otlp-exporter.ts";
import type { Sampling } from "./trace.ts";

/** How a server is traced. */
export interface TraceSettings {
  /** undefined: traces are not sent. */
  readonly otlp: OtlpOptions | undefined;
  readonly sampling: Sampling;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Spans of one trace: OpenTelemetry counts in spans, we in traces. */
const SPANS = 8;
const SLOW_MS = 1000;
const TAIL_PER_SECOND = 50;

/**
 * The settings.
 *
 * @param given `--otlp`, which goes before the environment, as do the others where they are there.
 * @throws SkipwayError `usage` for an address, number or protocol that cannot be used.
 */
export function traceSettings(
  env: Environment,
  version: string,
  given: {
    otlp?: string | undefined;
    ratio?: number | undefined;
    slowMs?: number | undefined;
  } = {},
): TraceSettings {
  const { slowMs = SLOW_MS, ratio = ratioOf(env) } = given;
  const sampling = { ratio, slowMs, tailPerSecond: TAIL_PER_SECOND };
  const url = urlOf(env, given.otlp);
  if (url === undefined || env["OTEL_SDK_DISABLED"]?.toLowerCase() === "true") {
    return { otlp: undefined, sampling };
  }
  const protocol = first(env, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL");
  if (protocol !== undefined && protocol.value !== "http/protobuf") {
    throw refused(
      protocol.name,
      `"${protocol.value}" is not spoken here`,
      "Set it to http/protobuf.",
    );
  }
  const headers = first(env, "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS");
  const timeout = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"] as const;
  const resource = {
    "service.name": "skipway",
    "service.version": version,
    "telemetry.sdk.name": "skipway",
    "telemetry.sdk.language": "nodejs",
    ...pairsOf("OTEL_RESOURCE_ATTRIBUTES", env["OTEL_RESOURCE_ATTRIBUTES"]),
    ...(env["OTEL_SERVICE_NAME"] ? { "service.name": env["OTEL_SERVICE_NAME"] } : {}),
  };
  return {
    sampling,
    otlp: {
      url,
      headers: headers === undefined ? {} : headersOf(headers.name, headers.value),
      source: { resource, scope: { name: "skipway", version } },
      timeoutMs: numberOf(env, timeout, 10_000),
      delayMs: numberOf(env, ["OTEL_BSP_SCHEDULE_DELAY"], 5000),
      batchMax: inTraces(numberOf(env, ["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"], 512)),
      queueMax: inTraces(numberOf(env, ["OTEL_BSP_MAX_QUEUE_SIZE"], 32_768)),
    },
  };
}

function urlOf(env: Environment, given: string | undefined): URL | undefined {
  const exact = env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
  if (given === undefined && exact) {
    return addressOf("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", exact);
  }
  const base = given ?? env["OTEL_EXPORTER_OTLP_ENDPOINT"];
  if (base === undefined || base === "") return undefined;
  const where = given === undefined ? "OTEL_EXPORTER_OTLP_ENDPOINT" : "--otlp";
  const url = addressOf(where, base);
  // The one for all signals is a base address: each has its path below it.
  if (!url.pathname.endsWith("/v1/traces")) {
    url.pathname = `${url.pathname.replace(/\/$/, "")}/v1/traces`;
  }
  return url;
}

function addressOf(where: string, text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined && (url.protocol === "http:" || url.protocol === "https:")) return url;
  // The address may hold a password, so it is not repeated.
  throw refused(
    where,
    "is no http or https address",
    "Give the collector's, such as http://127.0.0.1:4318.",
  );
}

function ratioOf(env: Environment): number {
  const sampler = env["OTEL_TRACES_SAMPLER"] ?? "parentbased_traceidratio";
  if (sampler === "always_on" || sampler === "parentbased_always_on") return 1;
  if (sampler === "always_off" || sampler === "parentbased_always_off") return 0;
  if (sampler !== "traceidratio" && sampler !== "parentbased_traceidratio") {
    const fix =
      "Set it to parentbased_traceidratio, parentbased_always_on or parentbased_always_off.";
    throw refused("OTEL_TRACES_SAMPLER", `"${sampler}" is not known here`, fix);
  }
  const text = env["OTEL_TRACES_SAMPLER_ARG"];
  if (text === undefined || text === "") return 1;
  const ratio = Number(text);
  if (ratio >= 0 && ratio <= 1) return ratio;
  throw refused(
    "OTEL_TRACES_SAMPLER_ARG",
    `"${text}" is no share from 0 to 1`,
    "Set it to 0.1, say.",
  );
}

function inTraces(spans: number): number {
  return Math.max(1, Math.floor(spans / SPANS));
}

function numberOf(env: Environment, names: readonly string[], otherwise: number): number {
  const found = first(env, ...names);
  if (found === undefined) return otherwise;
  const value = Number(found.value);
  if (Number.isSafeInteger(value) && value > 0 && value < 2 ** 31) return value;
  throw refused(
    found.name,
    `"${found.value}" is no whole number above 0`,
    `Leave it out for ${otherwise}.`,
  );
}

function first(env: Environment, ...names: readonly string[]) {
  const name = names.find((one) => env[one] !== undefined && env[one] !== "");
  return name === undefined ? undefined : { name, value: env[name] ?? "" };
}

/** `a=b,c=d` with percent encoding (W3C Baggage, as OpenTelemetry takes it). */
function pairsOf(where: string, text = ""): Record<string, string> {
  const pairs: Record<string, string> = {};
  for (const part of text.split(",")) {
    if (part.trim() === "") continue;
    const at = part.indexOf("=");
    const name = part.slice(0, at).trim();
    const value = decoded(part.slice(at + 1).trim());
    if (at < 1 || value === undefined || /[\r\n\0]/.test(name + value)) {
      // Values may be secrets: only the place is told.
      throw refused(
        where,
        "is no list of name=value pairs",
        "Separate pairs by commas, percent-encoded.",
      );
    }
    pairs[name] = value;
  }
  return pairs;
}

/** Pairs that can be sent as headers. */
function headersOf(where: string, text: string): Record<string, string> {
  const pairs = pairsOf(where, text);
  const usable = Object.entries(pairs).every(
    ([name, value]) => /^[\w!#$%&'*+.^`|~-]+$/.test(name) && /^[\t\x20-\x7e]*$/.test(value),
  );
  if (usable) return pairs;
  throw refused(where, "has a pair that is no HTTP header", "Use names and values of plain ASCII.");
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function refused(where: string, text: string, fix: string): SkipwayError {
  return SkipwayError.fromDiagnostics("usage", [
    diagnostic({ id: "observe/otlp", severity: "error", where, text, fix }),
  ]);
}
