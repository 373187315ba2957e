// A model as requests see it: for each one the version that it goes to, looked up when it is asked and not when
// it came in, so that an exchange in between is of no matter.

import type { ValueType } from "../graph/graph.ts";
import { NO_COUNTS } from "./counters.ts";
import { type FailureReason, RequestError } from "./errors.ts";
import type { BatchingSettings, VersionCounts } from "./extensions.ts";
import type { InferenceAnswer, InferenceCall, ServedVersion } from "./inference.ts";
import { chooseRoute, type TrafficSplit } from "./router.ts";
import type { Shadow } from "./shadow.ts";
import type { VersionHost } from "./version-host.ts";

/** What a routed model needs of its entry in the fleet. */
export interface RoutedParts {
  readonly name: string;
  readonly hosts: ReadonlyMap<number, VersionHost>;
  readonly shadow: Shadow;
  split(): TrafficSplit;
  uniform(): number;
}

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
    const { hosts, name, shadow, split, uniform } = this.#parts;
    const request = { version: this.#version, key: call.key, uniform: uniform() };
    const route = chooseRoute(split(), request, (version) => hosts.get(version)?.ready === true);
    const host = hosts.get(route.version);
    if (host === undefined) {
      const text = `model "${name}" is not served any more`;
      throw new RequestError(503, "not-ready", text, { retryAfterSeconds: 1 });
    }
    const { version, digest } = host;
    call.observe?.target({ name, version, digest, role: route.role });
    const answer = await host.infer(call);
    const copy = route.shadow === undefined ? undefined : hosts.get(route.shadow);
    if (copy !== undefined) shadow.offer(copy, call, answer);
    return { ...answer, role: route.role };
  }

  get #host(): VersionHost | undefined {
    return this.#parts.hosts.get(this.version);
  }
}
