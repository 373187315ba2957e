// Rollouts as lines for a terminal: the plan before one starts, and how one stands.

import { timeText } from "../../base/clock.ts";
import { formatSeconds } from "../../base/format.ts";
import { printable } from "../../base/printable.ts";
import { tableLines } from "../../base/table.ts";
import type { AdvisoryReading } from "../../rollout/advisory.ts";
import type { Proposal } from "../../rollout/controller.ts";
import type { CostReading } from "../../rollout/cost.ts";
import type { RolloutDocument, RolloutStatus } from "../../rollout/document.ts";
import type { GateReading } from "../../rollout/judge/types.ts";
import type { DriftReading } from "../../rollout/output-drift.ts";
import type { RolloutPhase } from "../../rollout/state.ts";
import { type Style, styled } from "./style.ts";

const STYLES: Readonly<Partial<Record<RolloutPhase, Style>>> = {
  promoted: "green",
  "rolled-back": "red",
  failed: "red",
  aborted: "yellow",
};

/** What is to be printed on. */
export interface Paper {
  readonly width: number;
  readonly color: boolean;
  readonly unicode: boolean;
}

/** The lines of a plan. */
export function planLines(
  { model, from, to, policy, threshold, plan, ramp }: Proposal,
  paper: Paper,
): string[] {
  const rows = plan.steps.map(({ share, requests, seconds, detects }, i) => [
    `${i + 1}`,
    percent(share),
    requests === null ? (plan.refusal === null ? "until sure" : "unknown") : `${requests}`,
    seconds === null ? "unknown" : formatSeconds(seconds),
    detects === null ? "none" : `×${Number(detects.toPrecision(2))}`,
  ]);
  const slow = threshold.slowRate === null ? "" : `, ${percent(threshold.slowRate)} of stable's`;
  return [
    `${bold("Rollout", paper)}  ${printable(model)} version ${to} in place of version ${from}, at ${rate(plan.ratePerSecond)} over the last ${formatSeconds(plan.windowSeconds)}`,
    `slow is above ${ms(threshold.ms)} (${threshold.source}${slow})`,
    ...(policy.warmup === 0
      ? []
      : [
          `the first ${policy.warmup} runs of a shape in a new process are not judged by their time`,
        ]),
    ...(ramp.shadow === undefined
      ? []
      : [
          `shadow: ${ramp.shadow.pairs} copies are compared, for ${formatSeconds(ramp.shadow.maxMs / 1000)} at the most`,
        ]),
    "",
    ...tableLines(
      [
        { title: "step", align: "right" },
        { title: "share", align: "right" },
        { title: "candidate requests", align: "right" },
        { title: "about", align: "right" },
        { title: "sees slow requests", align: "right" },
      ],
      rows,
      paper.width,
    ),
    "",
    ...passageLines(plan, policy),
    ...plan.warnings.map(
      (text) => `${styled("yellow", "warning", paper.color)}  ${printable(text)}`,
    ),
    ...(plan.refusal === null
      ? []
      : [`${styled("red", "refused", paper.color)}  ${printable(plan.refusal)}`]),
  ];
}

/** How long it takes a version that is as good. */
function passageLines(
  { secondsToPromote: all, steps, refusal }: Proposal["plan"],
  { autoPromote, maxSeconds, labelsRequired }: Proposal["policy"],
): string[] {
  if (all === null) {
    // What is refused says why.
    return refusal === null
      ? ["how long that takes cannot be said, and without traffic nothing is decided"]
      : [];
  }
  const lasts = steps.reduce((sum, { seconds }) => sum + (seconds ?? Number.POSITIVE_INFINITY), 0);
  const early = all < 0.99 * lasts ? ": the judge is sure before all steps are through" : "";
  const labels = labelsRequired === true ? ", where its labels have come by then" : "";
  const about = `about ${formatSeconds(all)}${labels}`;
  if (refusal !== null) return [`a version that is as good would pass after ${about}${early}`];
  if (maxSeconds !== null && maxSeconds < all) {
    return [`a version that is as good would take ${about}, and is taken back before`];
  }
  return [
    autoPromote
      ? `a version that is as good is promoted after ${about}${early}`
      : `a version that is as good has passed after ${about}${early}, and waits for somebody to promote it`,
  ];
}

/** What is printed of a rollout. */
type Printed = RolloutStatus & Pick<RolloutDocument, "events">;

/** The lines of a rollout. */
export function rolloutLines(one: Printed, paper: Paper): string[] {
  const { model, from, to, id, verdict, reason, events } = one;
  const lines = [
    `${bold("Rollout", paper)}  ${printable(model)} version ${to} in place of version ${from}  ${id}`,
    stateLine(one, paper),
  ];
  if (reason !== null) {
    const why = [reason.cause, reason.text].filter((text) => text !== "").join(": ");
    lines.push(`${printable(why)} (${printable(reason.actor)})`);
  }
  if (one.fault !== null) {
    lines.push(`${styled("yellow", "not done", paper.color)}  ${printable(one.fault)}`);
  }
  // A server may be older than the command.
  if (one.aliasElsewhere != null) lines.push(elsewhereLine(one, paper));
  if (verdict !== null) {
    lines.push("", `${verdict.verdict}: ${printable(verdict.text)}`, "");
    lines.push(...gateLines(verdict.gates, paper), ...labelLines(verdict.gates));
  }
  if (one.advisory != null) lines.push("", ...advisoryLines(one.advisory, paper));
  if (events.length > 0) lines.push("", ...eventLines(one, paper));
  return lines;
}

/** In one line, for progress. */
export function progressLine({ phase, step, steps, share, verdict }: RolloutStatus): string {
  const at = phase === "canary" ? ` step ${step + 1} of ${steps.length}, ${percent(share)}` : "";
  const judged = verdict === null ? "" : `: ${verdict.verdict}, ${printable(verdict.text)}`;
  return `${phase}${at}${judged}`;
}

/** Several rollouts, a line each. */
export function listLines(all: readonly RolloutDocument[], paper: Paper): string[] {
  if (all.length === 0) return ["There has been no rollout."];
  const rows = all.map((one) => [
    one.id,
    one.model,
    `${one.from} → ${one.to}`,
    one.phase,
    one.reason?.cause ?? "",
    timeText(one.startedMs).slice(0, 19),
  ]);
  const titles = ["id", "model", "versions", "phase", "cause", "started (UTC)"];
  return tableLines(
    titles.map((title) => ({ title })),
    rows,
    paper.width,
  );
}

function stateLine(
  { phase, step, steps, share, held, frozen, waiting, automaticRollback, over }: RolloutStatus,
  paper: Paper,
): string {
  const words: string[] = [phase];
  if (phase === "canary") words.push(`step ${step + 1} of ${steps.length}`);
  if (!over) words.push(`${percent(share)} of the requests`);
  if (held) words.push("held");
  if (frozen) words.push("frozen");
  if (!over && !automaticRollback) words.push("no automatic rollback");
  if (waiting) words.push("waits for somebody to promote it");
  const style = STYLES[phase];
  const text = words.join(", ");
  return style === undefined ? text : styled(style, text, paper.color);
}

function elsewhereLine({ aliasElsewhere, from, to, model, over }: Printed, paper: Paper): string {
  const moved = `others have moved the alias stable to version ${aliasElsewhere}`;
  const then = over
    ? "which answers since the rollout ended"
    : `so that nothing goes forward: point it to version ${from} or ${to} again (skipway registry alias ${printable(model)} stable ${from}), or abort the rollout`;
  return `${styled("yellow", "moved", paper.color)}  ${moved}, ${then}`;
}

const BAR = 20;

/** How far the evidence of each gate is on its way to taking the candidate back. */
function gateLines(gates: readonly GateReading[], paper: Paper): string[] {
  const rows = gates.map((gate) => [
    gate.gate,
    gauge(gate.logE / gate.limit, paper),
    `${gate.candidate.events} of ${gate.candidate.of}`,
    `${gate.stable.events} of ${gate.stable.of}`,
    `${ratioText(gate)} < ${gate.allowed.toPrecision(3)}`,
    gate.verdict,
  ]);
  return tableLines(
    [
      { title: "gate" },
      { title: "evidence" },
      { title: "candidate", align: "right" },
      { title: "stable", align: "right" },
      { title: "ratio, interval, limit" },
      { title: "verdict" },
    ],
    rows,
    paper.width,
  );
}

/** How many labels came, and what of it decides. A server may be older than the command. */
function labelLines(gates: readonly GateReading[]): string[] {
  return gates.flatMap(({ gate, labels }) => {
    if (labels === undefined) return [];
    const { candidate, stable, needed, decide } = labels;
    const came = `labels: ${candidate.events} of ${candidate.of} wrong, stable's ${stable.events} of ${stable.of}`;
    const more = needed === null ? "more" : `about ${needed} more`;
    const proof =
      needed === 0 ? "they prove it" : `${more} of the candidate are needed to prove it by them`;
    return [`${came}; ${proof}${decide ? `, and ${gate} waits for that` : ""}`];
  });
}

function gauge(share: number, { unicode }: Paper): string {
  const full = Math.round(BAR * Math.min(1, Math.max(0, share)));
  const [on, off] = unicode ? ["█", "░"] : ["#", "."];
  return (on ?? "").repeat(full) + (off ?? "").repeat(BAR - full);
}

function ratioText({
  ratio,
  lower,
  upper,
}: Pick<GateReading, "ratio" | "lower" | "upper">): string {
  const text = (value: number | null): string => (value === null ? "?" : value.toPrecision(3));
  return `${text(ratio)} (${text(lower)} to ${text(upper)})`;
}

/** What decides nothing. */
function advisoryLines({ drift, cost }: AdvisoryReading, { width }: Paper): string[] {
  const rows = [...drift.map(driftRow), costRow(cost)];
  const titles = ["informs only", "candidate", "stable", "", "found"];
  return tableLines(
    titles.map((title, i) => ({ title, ...(i === 3 && { flexible: true }) })),
    rows,
    width,
  );
}

function driftRow({ output, kind, psi, limit, verdict, bins, ...of }: DriftReading): string[] {
  const [most] = bins;
  const index =
    psi === null || limit === null ? "" : `PSI ${psi.toFixed(3)} of ${limit.toFixed(2)}`;
  const where =
    verdict !== "drifted" || most === undefined
      ? ""
      : `, ${kind === "class" ? "class " : ""}${most.name}: ${most.candidate}, stable ${most.stable}`;
  const counts = [`${of.candidate} answers`, `${of.stable} answers`];
  return [`drift of ${printable(output)}`, ...counts, `${index}${where}`, verdict];
}

function costRow({ stable, candidate, ratio, lower, upper, verdict }: CostReading): string[] {
  const [first, second] = [candidate, stable].map(({ msPerInference }) =>
    msPerInference === null ? "unknown" : `${ms(msPerInference)}`,
  );
  const text = ratioText({ ratio, lower, upper });
  return ["cost of an inference", first ?? "", second ?? "", `× ${text} in like batches`, verdict];
}

const EVENTS_SHOWN = 12;

function eventLines({ events }: Printed, paper: Paper): string[] {
  const rows = events
    .slice(-EVENTS_SHOWN)
    .map(({ atMs, kind, text }) => [timeText(atMs).slice(11, 23), kind, text]);
  return tableLines(
    [{ title: "at (UTC)" }, { title: "event" }, { title: "", flexible: true }],
    rows,
    paper.width,
  );
}

function bold(text: string, { color }: Paper): string {
  return styled("bold", text, color);
}

function percent(share: number): string {
  return `${Number((100 * share).toPrecision(3))} %`;
}

function rate(perSecond: number): string {
  return `${perSecond.toPrecision(3)} requests/s`;
}

function ms(value: number): string {
  return `${Number(value.toPrecision(3))} ms`;
}
