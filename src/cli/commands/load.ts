// `skipway load URL`: an open-loop load test of any server that speaks the Open Inference Protocol.

import { readFile } from "node:fs/promises";
import { type Command, InvalidArgumentError, Option } from "commander";
import { diagnostic } from "../../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../../base/errors.ts";
import { limits } from "../../base/limits.ts";
import { arrivals, expectedCount, type Pattern, segmentsOf } from "../../drill/load/arrivals.ts";
import { sendLoad } from "../../drill/load/load.ts";
import { madeUpQuestion, type Question } from "../../drill/load/question.ts";
import { loadReport } from "../../drill/load/report.ts";
import type { TensorMetadata } from "../../wire/metadata.ts";
import { type CommonOptions, type Io, quietIo } from "../io.ts";
import { wholeNumber } from "../options.ts";
import { EXIT } from "../render/findings.ts";
import { bar, LiveArea } from "../render/live.ts";
import { loadLines } from "../render/load.ts";

interface LoadOptions extends CommonOptions {
  readonly model?: string;
  readonly version?: string;
  readonly rate: Pattern;
  readonly seconds: number;
  readonly even?: boolean;
  readonly seed: number;
  readonly rows: number;
  readonly size: number;
  readonly form: "binary" | "json";
  readonly body?: string;
  readonly connections: number;
  readonly timeout: number;
  readonly token?: string;
}

/** Adds the command. */
export function addLoad(program: Command, io: Io): void {
  program
    .command("load")
    .description("open-loop load test of an inference server: latencies from the intended times")
    .argument("<url>", "the server, such as http://127.0.0.1:8080")
    .option("--model <name>", "the model to ask; the only one if left out")
    .option("--version <number>", "its version; the server's choice if left out")
    .addOption(
      new Option("--rate <pattern>", "requests a second: 50, 10..200 (ramp) or 20,40,80 (steps)")
        .argParser(readRate)
        .default(readRate("10"), "10"),
    )
    .option("--seconds <number>", "how long the test takes", wholeNumber(1, 86_400), 10)
    .option("--even", "evenly spread requests instead of a Poisson process")
    .option("--seed <number>", "seed of times and inputs", wholeNumber(0, 4_294_967_295), 1)
    .option("--rows <number>", "for an open first axis", wholeNumber(1, 65_536), 1)
    .option("--size <number>", "for other open axes", wholeNumber(1, 65_536), 16)
    .option("--form <form>", "binary or json", readForm, "binary")
    .option("--body <file>", "the JSON body to send instead of random inputs")
    .option("--connections <number>", "at the most", wholeNumber(1, 16_384), 256)
    .option("--timeout <ms>", "gives a request up", wholeNumber(1, 3_600_000), 30_000)
    .option("--token <secret>", "bearer token; better in the environment as SKIPWAY_TOKEN")
    .option("--json", "print one JSON document")
    .option("--quiet", "no progress")
    .addHelpText(
      "after",
      "\nExample:\n  $ skipway load http://127.0.0.1:8080 --model digits --rate 50,100,200 --seconds 30\n",
    )
    .action((url: string, options: LoadOptions) => run(io, url, options));
}

async function run(given: Io, address: string, options: LoadOptions): Promise<void> {
  const io = options.quiet === true ? quietIo(given) : given;
  const server = addressOf(address);
  const segments = segmentsOf(options.rate, options.seconds);
  refuseTooMany(expectedCount(segments));
  const headers = authorization(options);
  const model = options.model ?? (await onlyModel(server, headers));
  const path = `v2/models/${encodeURIComponent(model)}${options.version === undefined ? "" : `/versions/${encodeURIComponent(options.version)}`}`;
  const question = await questionOf(server, path, headers, options);
  const plan = {
    url: new URL(`${path}/infer`, server),
    question: { ...question, headers: { ...question.headers, ...headers } },
    arrivals: arrivals(segments, {
      spread: options.even === true ? "even" : "poisson",
      seed: options.seed,
    }),
    connectionsMax: options.connections,
    timeoutMs: options.timeout,
  };
  const area = new LiveArea(io);
  const result = await sendLoad(plan, {
    signal: io.signal,
    onProgress: ({ sent, answered, good }) => {
      const share = sent / Math.max(1, plan.arrivals.length);
      area.set([`${bar(share, 30)} ${sent} sent, ${answered} answered, ${good} of them well`]);
    },
  });
  area.done();
  const report = loadReport(plan, result, options.seconds);
  const interrupted = io.signal.aborted;
  if (interrupted) process.exitCode = EXIT.interrupted;
  else if (report.good.n === 0) process.exitCode = EXIT.check;
  if (options.json !== true) {
    given.out(`${loadLines(report, given.outColumns).join("\n")}\n`);
    return;
  }
  const { rate, seconds, seed, rows, form, connections, timeout } = options;
  const settings = {
    pattern: rate,
    spread: options.even === true ? "even" : "poisson",
    seconds,
    seed,
    rows,
    form: options.body === undefined ? form : "json",
    connections,
    timeoutMs: timeout,
  };
  const document = {
    schema: "skipway.load/1",
    url: plan.url.href,
    model,
    settings,
    interrupted,
    ...report,
  };
  given.out(`${JSON.stringify(document, null, 2)}\n`);
}

async function questionOf(
  server: URL,
  path: string,
  headers: Readonly<Record<string, string>>,
  options: LoadOptions,
): Promise<Question> {
  const { body, rows, size, form, seed } = options;
  if (body !== undefined) {
    const bytes = await readFile(body).catch((cause: unknown) => {
      throw new SkipwayError("input", `${body}: ${messageOf(cause)}`, { cause });
    });
    return { body: bytes, headers: { "content-type": "application/json" } };
  }
  const metadata = await ask(server, path, headers);
  const inputs = fieldOf(metadata, "inputs");
  if (!Array.isArray(inputs))
    throw notProtocol(server, "the metadata of the model lists no inputs");
  const sizes = { rows, others: size };
  return madeUpQuestion(
    inputs.map((one) => tensorOf(server, one)),
    { sizes, form, seed },
  );
}

async function onlyModel(server: URL, headers: Readonly<Record<string, string>>): Promise<string> {
  const answer = await ask(server, "v2/models", headers);
  const listed = fieldOf(answer, "models");
  const names = Array.isArray(listed) ? listed.filter((name) => typeof name === "string") : [];
  const [only] = names;
  if (only !== undefined && names.length === 1) return only;
  throw SkipwayError.fromDiagnostics("usage", [
    diagnostic({
      id: "load/model",
      severity: "error",
      where: server.href,
      text:
        names.length === 0 ? "says of no model that it serves it" : `serves ${names.join(", ")}`,
      fix: "Name the model with --model.",
    }),
  ]);
}

async function ask(
  server: URL,
  path: string,
  headers: Readonly<Record<string, string>>,
): Promise<unknown> {
  const url = new URL(path, server);
  let answer: Response;
  try {
    answer = await fetch(url, { headers });
  } catch (cause) {
    const text = `${url.href} does not answer: ${messageOf(cause instanceof Error ? (cause.cause ?? cause) : cause)}`;
    throw new SkipwayError("environment", text, { cause });
  }
  if (!answer.ok) throw notProtocol(server, `${url.pathname} answers ${answer.status}`);
  return answer.json().catch(() => undefined);
}

function tensorOf(server: URL, value: unknown): TensorMetadata {
  const [name, datatype, shape] = ["name", "datatype", "shape"].map((key) => fieldOf(value, key));
  const dims = Array.isArray(shape) ? shape.map(Number) : [Number.NaN];
  if (typeof name === "string" && typeof datatype === "string" && dims.every(Number.isInteger)) {
    return { name, datatype, shape: dims };
  }
  throw notProtocol(
    server,
    "the metadata of the model describes an input without name, type or shape",
  );
}

function fieldOf(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, key) : undefined;
}

function authorization({ token }: LoadOptions): Record<string, string> {
  const secret = token ?? process.env["SKIPWAY_TOKEN"];
  return secret === undefined ? {} : { authorization: `Bearer ${secret}` };
}

function addressOf(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw SkipwayError.fromDiagnostics("usage", [
      diagnostic({
        id: "load/url",
        severity: "error",
        where: text,
        text: "is no address of a server",
        fix: "Give it as http://HOST:PORT.",
      }),
    ]);
  }
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return url;
}

function refuseTooMany(count: number): void {
  if (count <= limits.loadRequestsMax) return;
  throw SkipwayError.fromDiagnostics("usage", [
    diagnostic({
      id: "load/too-many",
      severity: "error",
      where: "--rate, --seconds",
      text: `mean ${Math.round(count)} requests, and each is remembered; at most ${limits.loadRequestsMax} are sent in one test`,
      fix: "Lower the rate or the time.",
    }),
  ]);
}

function notProtocol(server: URL, text: string): SkipwayError {
  return SkipwayError.fromDiagnostics("environment", [
    diagnostic({
      id: "load/protocol",
      severity: "error",
      where: server.href,
      text,
      fix: "Check that the address is that of an Open Inference Protocol server, and the name of the model.",
    }),
  ]);
}

/** Reads 50, 10..200 or 20,40,80. */
export function readRate(text: string): Pattern {
  const numbers = (parts: readonly string[]): number[] =>
    parts.map((part) => {
      const rate = Number(part);
      if (part.trim() !== "" && rate >= 0 && rate <= 1_000_000) return rate;
      throw new InvalidArgumentError("it is 50, 10..200 or 20,40,80, each up to 1000000 a second");
    });
  const ends = text.split("..");
  const [from, to, ...more] = ends.length > 1 ? numbers(ends) : [];
  const isRamp = from !== undefined && to !== undefined && more.length === 0;
  const rates = isRamp ? [from, to] : numbers(text.split(","));
  if (rates.every((one) => one === 0)) {
    throw new InvalidArgumentError("at 0 a second nothing would be sent");
  }
  if (isRamp) return { kind: "ramp", from, to };
  const [rate] = rates;
  return rates.length === 1 && rate !== undefined
    ? { kind: "steady", rate }
    : { kind: "steps", rates };
}

function readForm(text: string): "binary" | "json" {
  if (text === "binary" || text === "json") return text;
  throw new InvalidArgumentError("it is binary or json");
}
