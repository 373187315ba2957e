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

/** What can be done now; one key freezes and lets go. */
export function actsOf(status: RolloutStatus): readonly ActView[] {
  if (hasEnded(status)) return [];
  const stopped = status.held || status.frozen;
  return [
    { act: "abort", command: "roll-back", label: "Roll back" },
    ...(stopped
      ? [{ act: "resume", command: "freeze", label: "Resume" } as const]
      : [
          { act: "freeze", command: "freeze", label: "Freeze" } as const,
          { act: "hold", command: "hold", label: "Hold" } as const,
        ]),
    { act: "promote", command: "promote", label: "Promote" },
  ];
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
