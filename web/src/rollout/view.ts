// What a canary card says: texts, signs and places on scales, from what the server tells of a rollout.

import type { RolloutStatus } from "../../../src/rollout/document.ts";
import type { GateName, GateReading, Verdict } from "../../../src/rollout/judge/types.ts";
import { milliseconds, percentText } from "../format.ts";
import type { Tone } from "../on-call/rows.ts";
import { hasEnded, verdictOf } from "./verdict.ts";

/** A word with its sign and colour. */
export interface Word {
  readonly sign: string;
  readonly text: string;
  readonly tone: Tone;
}

/** A step of the ramp. */
export interface StepView {
  readonly text: string;
  readonly state: "done" | "now" | "next" | "stopped" | "skipped";
}

/** What one gate says. */
export interface GateView {
  readonly gate: GateName;
  readonly name: string;
  readonly word: Word;
  /** How far the evidence is on its way to the limit, on the scale of its logarithm: 0 to 1. */
  readonly way: number;
  readonly evidence: string;
  readonly candidate: string;
  readonly stable: string;
  readonly ratio: RatioView;
  readonly stratum: string | undefined;
  /** What it lacks to pass, and whether it has to. */
  readonly lacks: string;
}

/** A ratio with its interval on a logarithmic scale, places from 0 to 1; null where nothing is known. */
export interface RatioView {
  readonly text: string;
  readonly at: number | null;
  readonly from: number | null;
  readonly to: number | null;
  readonly one: number;
  readonly allowed: number;
  readonly allowedText: string;
  /** The interval reaches over what is allowed. */
  readonly over: boolean;
}

/** Names of the gates, as people say them. */
export const GATE_NAMES: Readonly<Record<GateName, string>> = {
  slow: "slow",
  "slow-run": "slow run",
  failed: "failed",
  "out-of-memory": "out of memory",
  wrong: "wrong",
  disagreement: "disagrees",
};

const VERDICTS: Readonly<Record<Verdict["verdict"], Word>> = {
  PASS: { sign: "✓", text: "PASS", tone: "good" },
  REGRESS: { sign: "▲", text: "REGRESS", tone: "bad" },
  UNDERPOWERED: { sign: "◔", text: "UNDERPOWERED", tone: "busy" },
};
const FAULT: Word = { sign: "▲", text: "SPLIT FAULT", tone: "bad" };

/** The verdict, or that it means nothing because requests went where they should not. */
export function verdictWord(status: Pick<RolloutStatus, "verdict">): Word {
  const verdict = verdictOf(status);
  return verdict.sampleRatio.fault ? FAULT : VERDICTS[verdict.verdict];
}

const PHASES: Readonly<Record<RolloutStatus["phase"], Word>> = {
  loading: { sign: "◔", text: "loading the candidate", tone: "busy" },
  shadow: { sign: "◌", text: "shadow: copies only", tone: "busy" },
  canary: { sign: "▷", text: "canary", tone: "busy" },
  promoting: { sign: "▶", text: "promoting", tone: "busy" },
  promoted: { sign: "✓", text: "promoted", tone: "good" },
  "rolled-back": { sign: "◁", text: "rolled back", tone: "bad" },
  aborted: { sign: "◁", text: "taken back by hand", tone: "quiet" },
  failed: { sign: "✕", text: "failed", tone: "bad" },
};

/** Where it is, and what stops it. */
export function phaseWords(status: RolloutStatus): readonly Word[] {
  const { phase, held, frozen, waiting, aliasElsewhere } = status;
  const words: Word[] = [PHASES[phase]];
  if (hasEnded(status)) return words;
  if (frozen) words.push({ sign: "■", text: "frozen", tone: "bad" });
  else if (held) words.push({ sign: "‖", text: "held", tone: "bad" });
  if (!status.automaticRollback)
    words.push({ sign: "▲", text: "no rollback by itself", tone: "bad" });
  if (aliasElsewhere !== null) {
    const text = `stopped: the alias was moved to version ${aliasElsewhere}`;
    words.push({ sign: "▲", text, tone: "bad" });
  }
  for (const side of ["stable", "candidate"] as const) {
    const text = `${side} does not answer`;
    if (phase !== "loading" && !status.ready[side]) words.push({ sign: "✕", text, tone: "bad" });
  }
  if (waiting) words.push({ sign: "◔", text: "waits for a person to promote", tone: "busy" });
  return words;
}

/** The steps with what became of each. */
export function stepsOf(status: RolloutStatus): readonly StepView[] {
  const { phase, step, steps } = status;
  const over = hasEnded(status) && phase !== "promoted";
  const through = phase === "promoting" || phase === "promoted";
  const views = steps.map(({ share }, i): StepView => {
    const text = percentText(share);
    if (i < step || (through && i === step)) return { text, state: "done" };
    // Whoever promotes by hand leaves out what was to come.
    if (through) return { text, state: "skipped" };
    if (i > step) return { text, state: "next" };
    return { text, state: over ? "stopped" : "now" };
  });
  const end = { promoted: "done", promoting: "now" } as const;
  const last = phase === "promoted" || phase === "promoting" ? end[phase] : "next";
  return [
    ...(phase === "shadow" ? [{ text: "shadow", state: "now" } as const] : []),
    ...views,
    { text: "all", state: last },
  ];
}

/** From when on a request is a slow one, and who says so. */
export function thresholdText({ threshold }: Pick<RolloutStatus, "threshold">): string {
  const { ms, source, n } = threshold;
  const sources = {
    policy: "as the policy says",
    "stable p99": `stable's P99 of ${countText(n)} requests before it began`,
    slo: "the objective of the model",
  } as const;
  return `${milliseconds(ms)}, ${sources[source]}`;
}

/** What the judge says; while it is not sure, what is missing and how long that takes at today's rate. */
export function verdictText(status: RolloutStatus): string {
  const { requestsNeeded, secondsNeeded, verdict, text, gates, sampleRatio } = verdictOf(status);
  const open = gates.filter((one) => one.required !== false && one.verdict === "underpowered");
  const sure = verdict !== "UNDERPOWERED" || sampleRatio.fault || open.length === 0;
  if (sure) return text;
  const names = open.map(({ gate }) => GATE_NAMES[gate] ?? gate).join(", ");
  if (hasEnded(status)) return `${names}: not sure when it ended`;
  if (requestsNeeded === null) return `${names}: never sure at these rates`;
  const requests = `${names}: ${countText(requestsNeeded)} more requests of the candidate`;
  if (secondsNeeded === null) return `${requests}; none come now`;
  return `${requests}, ${durationText(secondsNeeded)} at today's rate`;
}

/** Why it ended or stands still, and who said so; what the verdict says already is not said again. */
export function reasonTexts(
  { cause, text, actor }: NonNullable<RolloutStatus["reason"]>,
  said: string,
): readonly string[] {
  const why = text === "" && cause !== "operator" ? cause : text;
  return [...(why === "" || why === said ? [] : [why]), `by ${actor}`];
}

/** The gates, in the order of the judge. */
export function gatesOf(status: Pick<RolloutStatus, "verdict">): readonly GateView[] {
  return verdictOf(status).gates.map((one) => ({
    gate: one.gate,
    name: GATE_NAMES[one.gate] ?? one.gate,
    word: VERDICTS[WORDS[one.verdict]],
    way: wayOf(one),
    evidence: evidenceText(one),
    candidate: countsText(one.candidate),
    stable: countsText(one.stable),
    ratio: ratioView(one),
    stratum: one.stratum,
    lacks: lacksOf(one),
  }));
}

function lacksOf({ verdict, needed, required }: GateReading): string {
  const lacks: string[] = [];
  if (required === false) lacks.push("may be open");
  if (verdict === "underpowered" && needed === null) lacks.push("never sure at these rates");
  if (verdict === "underpowered" && typeof needed === "number" && needed > 0) {
    lacks.push(`needs ${countText(needed)} more`);
  }
  return lacks.join(", ");
}

const WORDS = { pass: "PASS", regress: "REGRESS", underpowered: "UNDERPOWERED" } as const;

/** How far evidence is on its way to its limit: 0 to 1. */
export function wayOf({ logE, limit }: Pick<GateReading, "logE" | "limit">): number {
  return Math.min(1, Math.max(0, logE / limit)) || 0;
}

/** Evidence of its limit, as e-values. */
export function evidenceText({ logE, limit }: Pick<GateReading, "logE" | "limit">): string {
  return `${eText(logE)} of ${eText(limit)}`;
}

/** An e-value from its logarithm: `12`, `0.2`, `3.1e9`. */
export function eText(logE: number): string {
  const digits = logE / Math.LN10;
  if (digits > 6) return `${(10 ** (digits % 1)).toFixed(1)}e${Math.floor(digits)}`;
  const value = Math.exp(logE);
  if (value < 0.01) return "0";
  return value >= 100 ? countText(value) : String(Number(value.toPrecision(2)));
}

/** Made once: to make one for each number took half the time of drawing a card. */
const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** `12,345`. */
export function countText(count: number): string {
  return WHOLE.format(count);
}

function countsText({ events, of }: GateReading["candidate"]): string {
  if (of === 0) return "none yet";
  return `${countText(events)} of ${countText(of)}`;
}

function ratioView({ ratio, lower, upper, allowed }: GateReading): RatioView {
  const known = [1, allowed, ratio ?? 1, lower ?? 1, upper ?? 1].filter((one) => one > 0);
  const widest = Math.max(4, ...known.map((one) => Math.abs(Math.log(one)) / Math.LN2));
  // A sixty-fourth to sixty-four is as far as a bar can tell; the words tell the rest.
  const most = Math.min(6, widest);
  const place = (value: number): number =>
    Math.min(1, Math.max(0, 0.5 + Math.log2(Math.max(value, 1e-9)) / (2 * most)));
  const placed = (value: number | null): number | null => (value === null ? null : place(value));
  const interval = `${lower === null ? "0" : timesText(lower)} – ${upper === null ? "any" : timesText(upper)}`;
  return {
    text: ratio === null ? interval : `×${timesText(ratio)} (${interval})`,
    at: placed(ratio),
    from: lower === null ? 0 : place(lower),
    to: upper === null ? 1 : place(upper),
    one: place(1),
    allowed: place(allowed),
    allowedText: timesText(allowed),
    over: upper === null || upper >= allowed,
  };
}

/** A ratio in two digits. */
export function timesText(ratio: number): string {
  return ratio >= 100 ? countText(ratio) : String(Number(ratio.toPrecision(2)));
}

/** `45 s`, `6 min`, `2.1 h`, `3.4 days`. */
export function durationText(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86_400).toFixed(1)} days`;
}
