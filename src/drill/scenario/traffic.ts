// The clients of a drill: real digits at a steady rate, whatever the answers, and after some of the answers, a while
// later, the label that would have been right.

import type { Clock } from "../../base/clock.ts";
import type { Examples } from "../../train/data.ts";
import { arrivals } from "../load/arrivals.ts";
import { type LoadAnswer, sendLoad } from "../load/load.ts";
import type { Question } from "../load/question.ts";
import type { SeenAnswer } from "./record.ts";

/** How a drill's clients ask. */
export interface TrafficPlan {
  readonly server: URL;
  readonly model: string;
  readonly input: { readonly name: string; readonly shape: readonly number[] };
  readonly examples: Examples;
  /** Requests a second. */
  readonly rate: number;
  /** At the most. */
  readonly seconds: number;
  /** Whether labels follow. */
  readonly labels: boolean;
  readonly clock: Clock;
}

const CONNECTIONS_MAX = 256;
const TIMEOUT_MS = 20_000;
/** Labels come late, and many at once. */
const LABELS_EVERY_MS = 300;
const SEED = 7;

/** The clients of one drill. */
export class Traffic {
  readonly #plan: TrafficPlan;
  readonly #answers: SeenAnswer[] = [];
  readonly #end = new AbortController();
  readonly #labels: { readonly requestId: string; readonly correct: boolean }[] = [];
  readonly #labelled: Promise<unknown>[] = [];
  readonly #versions = new Map<number, number>();
  #labelsRefused = 0;
  #timer: NodeJS.Timeout | undefined;
  #sending: Promise<unknown> = Promise.resolve();

  constructor(plan: TrafficPlan) {
    this.#plan = plan;
  }

  /** Answers so far. */
  get answers(): readonly SeenAnswer[] {
    return this.#answers;
  }

  /** How many answers a version has given. */
  answersOf(version: number): number {
    return this.#versions.get(version) ?? 0;
  }

  /** Messages with labels that the server did not take. */
  get labelsRefused(): number {
    return this.#labelsRefused;
  }

  start(): void {
    const { server, model, rate, seconds, clock } = this.#plan;
    const plan = {
      url: new URL(`v2/models/${encodeURIComponent(model)}/infer`, server),
      question: (i: number) => this.#question(i),
      arrivals: arrivals([{ seconds, from: rate, to: rate }], { spread: "poisson", seed: SEED }),
      connectionsMax: CONNECTIONS_MAX,
      timeoutMs: TIMEOUT_MS,
    };
    this.#sending = sendLoad(plan, {
      clock,
      end: this.#end.signal,
      onAnswer: (answer) => this.#answered(answer),
    });
    this.#timer = setInterval(() => this.#sendLabels(), LABELS_EVERY_MS);
  }

  /** Sends no more, and waits for what is under way. */
  async stop(): Promise<void> {
    this.#end.abort();
    await this.#sending;
    clearInterval(this.#timer);
    await Promise.allSettled(this.#labelled);
  }

  #question(i: number): Question {
    const { input, examples } = this.#plan;
    const size = input.shape.reduce((a, b) => a * b, 1);
    const at = (i % examples.count) * size;
    const data = [...examples.inputs.subarray(at, at + size)];
    const inputs = [{ name: input.name, shape: [1, ...input.shape], datatype: "FP32", data }];
    const headers = { "content-type": "application/json", "x-request-id": `drill-${i}` };
    return { body: Buffer.from(JSON.stringify({ inputs })), headers };
  }

  #answered({ i, sentMs, endedMs, status, body }: LoadAnswer): void {
    const { version, label } = status === 200 ? answerOf(body) : NO_ANSWER;
    this.#answers.push({ sentMs, endedMs, status, version });
    if (version === null || label === null) return;
    this.#versions.set(version, this.answersOf(version) + 1);
    if (!this.#plan.labels) return;
    const { labels, count } = this.#plan.examples;
    this.#labels.push({ requestId: `drill-${i}`, correct: label === labels[i % count] });
  }

  #sendLabels(): void {
    if (this.#labels.length === 0) return;
    const body = JSON.stringify(this.#labels.splice(0));
    const url = new URL("/api/v1/feedback", this.#plan.server);
    const refused = (): void => {
      this.#labelsRefused++;
    };
    const told = fetch(url, { method: "POST", body }).then(async (answer) => {
      await answer.arrayBuffer();
      if (!answer.ok) refused();
    }, refused);
    this.#labelled.push(told);
  }
}

const NO_ANSWER = { version: null, label: null } as const;

/** The version that answered, and the class with the largest score. */
function answerOf(body: Buffer): {
  readonly version: number | null;
  readonly label: number | null;
} {
  // The protocol's answer: what is not there is null.
  const document = JSON.parse(body.toString("utf8")) as {
    model_version?: string;
    outputs?: { data?: number[] }[];
  };
  const version = Number(document.model_version);
  const scores = document.outputs?.[0]?.data;
  return {
    version: Number.isInteger(version) ? version : null,
    label: scores === undefined ? null : scores.indexOf(Math.max(...scores)),
  };
}
