// What an act on a rollout would do, in words, from the effects that the server foresees.

import type { RolloutStatus } from "../../../src/rollout/document.ts";
import type { Act, RolloutEffect } from "../../../src/rollout/state.ts";
import { percentText } from "../format.ts";

/** What an act means. */
export function meaningOf(act: Act, { from, to }: Pick<RolloutStatus, "from" | "to">): string {
  const meanings: Readonly<Record<Act, string>> = {
    abort: `Version ${to} is taken back: it gets no more requests, what it has under way is finished, and version ${from} answers.`,
    promote: `Version ${to} gets all requests, whatever the judge knows, and becomes stable once the alias has moved.`,
    freeze:
      "Nothing goes forward, not by hand either, until somebody resumes it. A bad candidate is still taken back by itself.",
    hold: "It stays at its step until somebody resumes it. The judge goes on, and a bad candidate is still taken back by itself.",
    resume: "It goes on by itself from where it is.",
  };
  return meanings[act];
}

/** What would be done at once, in the order of the server. */
export function effectTexts(effects: readonly RolloutEffect[]): readonly string[] {
  return effects.length === 0 ? ["nothing changes at once"] : effects.map(effectText);
}

function effectText(effect: RolloutEffect): string {
  switch (effect.kind) {
    case "split":
      return splitText(effect.split);
    case "alias":
      return `the alias is moved to version ${effect.version}`;
    case "load":
      return "both versions are loaded";
    case "notice":
      return noticeText(effect.notice);
    case "certify":
      return "the evidence so far is kept as the certificate of this decision";
    case "release":
      return "the rollout is over, and the split may be set by hand again";
    case "refused":
      return `refused: ${effect.text}`;
  }
}

function noticeText({ kind, text }: Extract<RolloutEffect, { kind: "notice" }>["notice"]): string {
  return text === "" ? `event ${kind}` : `event ${kind}: ${text}`;
}

function splitText({
  stable,
  candidate,
  share,
  shadow,
}: Extract<RolloutEffect, { kind: "split" }>["split"]): string {
  const main =
    candidate === undefined || share === 0
      ? `all requests go to version ${stable}`
      : `${percentText(share)} of the requests go to version ${candidate}, ${percentText(1 - share)} to version ${stable}`;
  return shadow === undefined ? main : `${main}, copies to version ${shadow}`;
}
