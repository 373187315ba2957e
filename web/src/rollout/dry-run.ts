// Asking the server what an act on a rollout would do.

import type { RolloutStatus } from "../../../src/rollout/document.ts";
import type { RolloutEffect } from "../../../src/rollout/state.ts";
import { type ActView, actPlan } from "./acts.ts";

/** What the server says. */
export type Answer =
  | { readonly kind: "known"; readonly effects: readonly RolloutEffect[] }
  /** It would not do it. */
  | { readonly kind: "refused"; readonly text: string }
  /** It did not answer in time. */
  | { readonly kind: "unknown"; readonly text: string };

/** Whoever wants to take a version back does not wait for longer. */
const WAIT_MS = 3000;

/** Asks. */
export async function dryRun(rollout: RolloutStatus, view: ActView): Promise<Answer> {
  const { method, path } = actPlan(rollout, view, "");
  try {
    const response = await fetch(path, {
      method,
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ dryRun: true }),
      signal: AbortSignal.timeout(WAIT_MS),
    });
    return answerOf(response.status, await response.json().catch(() => ({})));
  } catch {
    return { kind: "unknown", text: "the server does not answer" };
  }
}

/** The answer in a response. */
export function answerOf(status: number, document: unknown): Answer {
  // The server's own document.
  const { error, effects } = document as {
    readonly error?: string;
    readonly effects?: readonly RolloutEffect[];
  };
  if (status < 400 && effects !== undefined) return { kind: "known", effects };
  const text = error ?? `the server answers ${status}`;
  return { kind: status < 400 || status >= 500 ? "unknown" : "refused", text };
}
