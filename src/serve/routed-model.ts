// A model as requests see it: for each one the version that it goes to, looked up when it is asked and not when
// it came in, so that an exchange in between is of no matter. What a candidate fails, stable is asked.

import type { Clock } from "../base/clock.ts";
import type { ValueType } from "../graph/graph.ts";
import { checkFeeds, checkFetches } from "../runtime/feeds.ts";
import { allFinite } from "./agreement.ts";
import { NO_COUNTS } from "./counters.ts";
import { type FailureReason, RequestError } from "./errors.ts";
import type { BatchingSettings, VersionCounts } from "./extensions.ts";
import type { InferenceAnswer, InferenceCall, ServedVersion } from "./inference.ts";
import type { Outcomes } from "./outcomes.ts";
import { chooseRoute, hashOfKey, type Route, type TrafficSplit } from "./router.ts";
import type { Shadow } from "./shadow.ts";
import { inputsSummary } from "./tracing.ts";
import type { VersionHost } from "./version-host.ts";

/** What a routed model needs of its entry in the fleet. */
export interface RoutedParts {
  readonly name: string;
  readonly hosts: ReadonlyMap<number, VersionHost>;
  readonly shadow: Shadow;
  readonly outcomes: Outcomes;
  readonly clock: Clock;
  split(): TrafficSplit;
  uniform(): number;
}

/** Failures that are not the request's own, nor the client's: another version may do better. */
const OF_THE_VERSION: ReadonlySet<FailureReason> = new Set([
  ...(["process-died", "runtime", "memory", "not-ready", "queue-full", "withdrawn"] as const),
  // Told before the time is over: the version is too slow to answer within it.
  "deadline",
]);

/** A name, or one version of it, whichever process stands behind it now. */
export class RoutedModel implements ServedVersion {
  readonly #parts: RoutedParts;
  readonly #version: number | undefined;
  readonly #pinned = new Map<number, RoutedModel>();

  constructor(parts: RoutedParts, version?: number) {
    this.#parts = parts;
    this.#version = version;
  }

  /** The same for requests that name a version. */
  pinned(version: number): RoutedModel {
    let found = this.#pinned.get(version);
    if (found === undefined) {
      found = new RoutedModel(this.#parts, version);
      this.#pinned.set(version, found);
    }
    return found;
  }

  get name(): string {
    return this.#parts.name;
  }

  get version(): number {
    return this.#version ?? this.#parts.split().stable;
  }

  get digest(): string {
    return this.#host?.digest ?? "";
  }

  get ready(): boolean {
    return this.#host?.ready ?? false;
  }

  get inputs(): ReadonlyMap<string, ValueType> {
    return this.#host?.inputs ?? new Map();
  }

  get outputs(): ReadonlyMap<string, ValueType> {
    return this.#host?.outputs ?? new Map();
  }

  get batching(): BatchingSettings | undefined {
    return this.#host?.batching;
  }

  counts(): VersionCounts {
    return this.#host?.counts() ?? NO_COUNTS;
  }

  countFailure(reason: FailureReason): void {
    this.#host?.countFailure(reason);
  }

  async infer(call: InferenceCall): Promise<InferenceAnswer> {
    const { hosts, split, uniform } = this.#parts;
    const request = { version: this.#version, key: call.key, uniform: uniform() };
    const route = chooseRoute(split(), request, (version) => hosts.get(version)?.ready === true);
    const asked = hosts.get(route.version);
    const candidate = route.role === "candidate";
    let second: number | undefined;
    const again = (refusal: RequestError): boolean => {
      second = candidate
        ? this.#secondChance(route.version, call, refusal)
        : this.#successor(asked, call, refusal);
      return second !== undefined;
    };
    try {
      return await this.#ask({ ...call, again }, route, candidate || this.#version === undefined);
    } catch (error) {
      if (second === undefined) throw error;
    }
    const role = second === this.#version ? route.role : "stable";
    return this.#ask(call, { version: second, role, share: 0, shadow: undefined }, false);
  }

  /** The version that is asked in place of a host that was taken out of service and lost its process meanwhile. */
  #successor(
    asked: VersionHost | undefined,
    call: InferenceCall,
    { reason }: RequestError,
  ): number | undefined {
    if (reason !== "not-ready" || this.#over(call)) return undefined;
    const next = this.#version ?? this.#parts.split().stable;
    const host = this.#parts.hosts.get(next);
    return host === undefined || host === asked ? undefined : next;
  }

  /** Whether nobody waits for it any more. */
  #over({ deadlineMs, signal }: InferenceCall): boolean {
    const late = deadlineMs !== undefined && this.#parts.clock.monotonicMs() >= deadlineMs;
    return late || signal?.aborted === true;
  }

  /** The version that is asked in place of a candidate that failed a request. */
  #secondChance(
    candidate: number,
    call: InferenceCall,
    { reason }: RequestError,
  ): number | undefined {
    const { stable } = this.#parts.split();
    if (stable === candidate || !this.#parts.hosts.has(stable)) return undefined;
    if (this.#over(call)) return undefined;
    const taken = reason === "invalid" && this.#takes(stable, call);
    return taken || OF_THE_VERSION.has(reason) ? stable : undefined;
  }

  /** Whether a version has the inputs and outputs that a request names. */
  #takes(version: number, { inputs, outputs }: InferenceCall): boolean {
    const host = this.#parts.hosts.get(version);
    if (host === undefined) return false;
    return (
      [...checkFeeds(host.inputs, inputs), ...checkFetches(host.outputs, outputs)].length === 0
    );
  }

  /** @param sample whether the split alone has sent it there. */
  async #ask(call: InferenceCall, route: Route, sample: boolean): Promise<InferenceAnswer> {
    const { hosts, name, shadow, outcomes, split } = this.#parts;
    const host = hosts.get(route.version);
    if (host === undefined) {
      const text = `model "${name}" is not served any more`;
      throw new RequestError(503, "not-ready", text, { retryAfterSeconds: 1 });
    }
    const { version, digest } = host;
    call.observe?.target({ name, version, digest, role: route.role });
    const answer = outcomes.heard
      ? await this.#askHeard(host, call, sample ? route : { ...route, role: "pinned", share: 0 })
      : await host.infer(call);
    const copy = route.shadow === undefined ? undefined : hosts.get(route.shadow);
    if (copy !== undefined) {
      const told = route.role === "stable";
      shadow.offer(copy, call, answer, { tolerance: split().tolerance, told });
    }
    return { ...answer, role: route.role };
  }

  /** The same as the version's `infer`, told to whoever listens. */
  async #askHeard(host: VersionHost, call: InferenceCall, route: Route): Promise<InferenceAnswer> {
    const { outcomes, clock } = this.#parts;
    const fromMs = clock.monotonicMs();
    const endOf = () => {
      const monotonicMs = clock.monotonicMs();
      return { monotonicMs, endedMs: monotonicMs - fromMs };
    };
    let answer: InferenceAnswer;
    try {
      answer = await host.infer(call);
    } catch (error) {
      if (error instanceof RequestError) {
        const { batch, outOfMemory } = error;
        const outcome = this.#faultOf(error, call, route);
        const how = { ...endOf(), outcome, outOfMemory, finite: true };
        outcomes.tell({ ...this.#question(call, route), ...how, ...batch });
      }
      throw error;
    }
    const { batch, batchRows, batchRequests, phases, outputs } = answer;
    const end = endOf();
    outcomes.tell({
      ...this.#question(call, route),
      ...end,
      latencyMs: end.endedMs,
      computeMs: phases.computeMs,
      batch,
      batchRows,
      batchRequests,
      outcome: "good",
      outOfMemory: false,
      finite: allFinite(outputs),
      outputs,
    });
    return answer;
  }

  #question(call: InferenceCall, { version, role, share }: Route) {
    return {
      kind: "request",
      model: this.name,
      version,
      role,
      share,
      requestId: call.observe?.requestId,
      tenant: call.observe?.tenant,
      atMs: this.#parts.clock.nowMs(),
      key: call.key === undefined ? undefined : hashOfKey(call.key),
      ...inputsSummary(call.inputs),
    } as const;
  }

  /** A candidate that refuses what stable takes is at fault, and not its client. */
  #faultOf({ reason }: RequestError, call: InferenceCall, { role }: Route): FailureReason {
    const ours = role === "candidate" && reason === "invalid";
    return ours && this.#takes(this.#parts.split().stable, call) ? "runtime" : reason;
  }

  get #host(): VersionHost | undefined {
    return this.#parts.hosts.get(this.version);
  }
}
