// What a person can do with a rollout: each act is first asked as a dry run, and done only after that.

import type { RolloutStatus } from "../../../src/rollout/document.ts";
import type { Act } from "../../../src/rollout/state.ts";
import type { Plan } from "../on-call/acts.ts";
import { hasEnded } from "./verdict.ts";

/** Commands of the page that act on a rollout. */
export type ActCommand = "roll-back" | "freeze" | "hold" | "promote";

/** An act with its command and what its button says. */
export interface ActView {
  readonly act: Act;
  readonly command: ActCommand;
  readonly label: string;
}

const FREEZE: ActView = { act: "freeze", command: "freeze", label: "Freeze" };

/** What can be done now; the key that stopped it lets it go again. One that is held can still be frozen. */
export function actsOf(status: RolloutStatus): readonly ActView[] {
  if (hasEnded(status)) return [];
  return [
    { act: "abort", command: "roll-back", label: "Roll back" },
    ...stopsOf(status),
    { act: "promote", command: "promote", label: "Promote" },
  ];
}

function stopsOf({ held, frozen }: RolloutStatus): readonly ActView[] {
  if (frozen) return [{ act: "resume", command: "freeze", label: "Resume" }];
  if (held) return [FREEZE, { act: "resume", command: "hold", label: "Resume" }];
  return [FREEZE, { act: "hold", command: "hold", label: "Hold" }];
}

/** The act of a command; undefined where there is none for it now. */
export function actOf(status: RolloutStatus, command: ActCommand): ActView | undefined {
  const acts = actsOf(status);
  const found = acts.find((one) => one.command === command);
  // Whoever presses the key of hold on a rollout that is stopped wants it to go on.
  return found ?? (command === "hold" ? acts.find(({ act }) => act === "resume") : undefined);
}

/** The rollout that a command means: that of the selected model, or the only one. */
export function rolloutOf(
  rollouts: readonly RolloutStatus[],
  model: string,
): RolloutStatus | undefined {
  const active = rollouts.filter((one) => !hasEnded(one));
  const own = active.find((one) => one.model === model);
  return own ?? (active.length === 1 ? active[0] : undefined);
}

/** The request for an act, in earnest. */
export function actPlan(
  { model, from, to }: RolloutStatus,
  { act, label }: Pick<ActView, "act" | "label">,
  reason: string,
): Plan {
  const why = reason.trim();
  return {
    title: `${label} ${model} ${from} → ${to}`,
    text: "",
    method: "POST",
    path: `/api/v1/models/${encodeURIComponent(model)}/rollout/${act}`,
    body: why === "" ? {} : { reason: why },
  };
}
