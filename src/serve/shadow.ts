// Copies of requests for a version whose answers nobody waits for: taken only while nothing else waits, after
// the answer that counts is there, few at a time, and dropped first. What the two answers differ by is counted.

import type { Clock } from "../base/clock.ts";
import { limits } from "../base/limits.ts";
import type { Tensors } from "../runtime/runner.ts";
import { allFinite, answersAgree } from "./agreement.ts";
import { type FailureReason, requestErrorOf } from "./errors.ts";
import type { InferenceAnswer, InferenceCall } from "./inference.ts";
import type { ShadowResult } from "./metrics.ts";
import type { Outcomes, PairOutcome } from "./outcomes.ts";
import { diffTensors } from "./tensor-diff.ts";
import type { VersionHost } from "./version-host.ts";

/** What has been compared so far, of one output. */
export interface OutputComparison {
  /** Answers of this output that were compared. */
  readonly compared: number;
  /** Those of another type or shape, or without this output. */
  readonly incomparable: number;
  readonly maxAbs: number;
  readonly maxRel: number;
  /** The least. */
  readonly cosine: number;
  readonly top1Flips: number;
  readonly rows: number;
  readonly nanMismatches: number;
}

/** What a shadow has been given and what came of it. */
export interface ShadowReport {
  /** The version that is compared; undefined where none is. */
  readonly version: number | undefined;
  readonly compared: number;
  /** Copies that were not made, because something else had to be done. */
  readonly dropped: number;
  /** Copies that got no answer, or none in time. */
  readonly failed: number;
  readonly outputs: Readonly<Record<string, OutputComparison>>;
}

/** What a shadow needs of its surroundings. */
export interface ShadowParts {
  readonly clock: Clock;
  readonly outcomes: Outcomes;
  /** Whether no request waits. */
  idle(): boolean;
  /** Told what became of each copy. */
  count(host: VersionHost, result: ShadowResult): void;
}

/** How an answer and that of the shadow are looked at. */
interface Looking {
  /** How far numbers may be off to agree. */
  readonly tolerance: number | undefined;
  /** Whether the answer is stable's, and the pair of interest to who judges. */
  readonly told: boolean;
}

/** Copies under way at a time. */
const COPIES_MAX = 1;
/** How long a copy may take. */
const LIMIT_MS = 30_000;

const NOTHING: OutputComparison = {
  compared: 0,
  incomparable: 0,
  maxAbs: 0,
  maxRel: 0,
  cosine: 1,
  top1Flips: 0,
  rows: 0,
  nanMismatches: 0,
};

/** The shadow of one model. */
export class Shadow {
  readonly #parts: ShadowParts;
  #version: number | undefined;
  #underWay = 0;
  #compared = 0;
  #dropped = 0;
  #failed = 0;
  #outputs = new Map<string, OutputComparison>();

  constructor(parts: ShadowParts) {
    this.#parts = parts;
  }

  /** Begins to count anew, for another version. */
  forget(version: number | undefined): void {
    if (version === this.#version) return;
    this.#version = version;
    this.#compared = 0;
    this.#dropped = 0;
    this.#failed = 0;
    this.#outputs = new Map();
  }

  report(): ShadowReport {
    return {
      version: this.#version,
      compared: this.#compared,
      dropped: this.#dropped,
      failed: this.#failed,
      outputs: Object.fromEntries(this.#outputs),
    };
  }

  /** Asks the shadow what was asked and answered, if there is room. Never throws, never waits. */
  offer(host: VersionHost, call: InferenceCall, answer: InferenceAnswer, how: Looking): void {
    const version = host.version;
    this.forget(version);
    if (this.#underWay >= COPIES_MAX || sizeOf(call.inputs) > limits.shadowBytesMax) {
      this.#dropped++;
      this.#parts.count(host, "dropped");
      return;
    }
    this.#underWay++;
    // The answer goes out first.
    setImmediate(() => {
      void this.#compare(host, call, answer, how).finally(() => {
        this.#underWay--;
      });
    });
  }

  async #compare(
    host: VersionHost,
    call: InferenceCall,
    answer: InferenceAnswer,
    how: Looking,
  ): Promise<void> {
    if (!this.#parts.idle()) {
      this.#dropped++;
      this.#parts.count(host, "dropped");
      return;
    }
    let copy: InferenceAnswer;
    try {
      copy = await host.infer({
        inputs: call.inputs,
        outputs: call.outputs,
        background: true,
        signal: AbortSignal.timeout(LIMIT_MS),
      });
    } catch (error) {
      this.#failed++;
      this.#parts.count(host, "failed");
      if (how.told) this.#tellFailure(host, call, answer, error);
      return;
    }
    if (host.version !== this.#version) return;
    this.#compared++;
    this.#parts.count(host, "compared");
    for (const [name, expected] of answer.outputs) {
      const total = this.#outputs.get(name) ?? NOTHING;
      this.#outputs.set(name, added(total, expected, copy.outputs.get(name)));
    }
    const { outcomes } = this.#parts;
    if (!how.told || !outcomes.heard) return;
    outcomes.tell({
      ...this.#pair(host, call, answer),
      agrees: answersAgree(answer.outputs, copy.outputs, how.tolerance),
      candidateMs: copy.phases.computeMs,
      outcome: "good",
      outOfMemory: false,
      // What is no number with stable either is the input's doing.
      finite: allFinite(copy.outputs) || !allFinite(answer.outputs),
      answers: { stable: answer.outputs, candidate: copy.outputs },
    });
  }

  #tellFailure(
    host: VersionHost,
    call: InferenceCall,
    answer: InferenceAnswer,
    error: unknown,
  ): void {
    if (!this.#parts.outcomes.heard) return;
    const { reason, outOfMemory } = requestErrorOf(error);
    const outcome = OF_A_COPY[reason] ?? reason;
    const end = { agrees: false, finite: true, outcome, outOfMemory };
    this.#parts.outcomes.tell({ ...this.#pair(host, call, answer), ...end });
  }

  #pair(host: VersionHost, call: InferenceCall, answer: InferenceAnswer) {
    return {
      kind: "pair",
      model: host.name,
      version: host.version,
      atMs: this.#parts.clock.nowMs(),
      requestId: call.observe?.requestId,
      stableMs: answer.phases.computeMs,
    } satisfies Partial<PairOutcome>;
  }
}

/** Nobody takes a copy back but its limit, and nothing is wrong with what stable has answered. */
const OF_A_COPY: Readonly<Partial<Record<FailureReason, FailureReason>>> = {
  canceled: "deadline",
  invalid: "runtime",
};

type OneTensor = Parameters<typeof diffTensors>[0];

function added(
  total: OutputComparison,
  expected: OneTensor,
  found: OneTensor | undefined,
): OutputComparison {
  const diff = diffTensors(expected, found);
  if (!diff.comparable) return { ...total, incomparable: total.incomparable + 1 };
  return {
    compared: total.compared + 1,
    incomparable: total.incomparable,
    maxAbs: Math.max(total.maxAbs, diff.maxAbs),
    maxRel: Math.max(total.maxRel, diff.maxRel),
    cosine: Math.min(total.cosine, diff.cosine),
    top1Flips: total.top1Flips + diff.top1Flips,
    rows: total.rows + diff.rows,
    nanMismatches: total.nanMismatches + diff.nanMismatches,
  };
}

function sizeOf(tensors: Tensors): number {
  let total = 0;
  for (const { data } of tensors.values()) total += data.bytes.byteLength;
  return total;
}
