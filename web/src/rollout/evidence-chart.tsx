// The evidence of all gates over the whole rollout, each as a share of its own limit, which is the line across.

import type { GateName } from "../../../src/rollout/judge/types.ts";
import { Chart, type Line } from "../on-call/chart.tsx";
import type { Mark } from "../on-call/kinds.ts";
import { evidenceLines } from "./evidence.ts";
import { drawnPath, type KnownRollout } from "./known.ts";
import { verdictOf } from "./verdict.ts";
import { eText, evidenceText, GATE_NAMES, wayOf } from "./view.ts";

/** Told apart by colour, by dashes, and by the name at the end of each line. */
const STYLES: Readonly<Record<GateName, Pick<Line, "colour" | "dash">>> = {
  slow: { colour: "--blue" },
  "slow-run": { colour: "--teal", dash: [7, 3] },
  failed: { colour: "--red" },
  "out-of-memory": { colour: "--violet", dash: [2, 3] },
  wrong: { colour: "--ink", dash: [7, 3, 2, 3] },
  disagreement: { colour: "--soft", dash: [4, 3] },
};

/** The chart. */
export function EvidenceChart(props: {
  readonly known: KnownRollout;
  readonly marks: readonly Mark[];
}) {
  const { known, marks } = props;
  const { status: rollout, seenMs, decided } = known;
  const { startedMs } = rollout;
  const { atMs, gates } = evidenceLines(drawnPath(known), rollout, seenMs);
  const lines = gates.map(({ gate, values }) => ({
    name: GATE_NAMES[gate] ?? gate,
    ...(STYLES[gate] ?? { colour: "--soft" }),
    values,
  }));
  const strongest = verdictOf(rollout).gates.toSorted((a, b) => wayOf(b) - wayOf(a))[0];
  const label =
    strongest === undefined
      ? "Evidence over time: none yet"
      : `Evidence over time against its limit; the most has gate ${GATE_NAMES[strongest.gate]}: ${evidenceText(strongest)}`;
  const limits = new Set(verdictOf(rollout).gates.map(({ limit }) => eText(limit)));
  return (
    <figure>
      <figcaption>
        <b>evidence over time</b>{" "}
        <span class="legend">
          share of its limit{limits.size === 1 ? `, ${[...limits].join()}` : ""}, logarithmic{" "}
          <i class="plain" /> limit
          {decided?.digest != null && (
            <>
              ; from the certificate of the {decided.decision}, {decided.digest.slice(0, 19)}
            </>
          )}
        </span>
      </figcaption>
      <Chart
        key={decided?.digest}
        named
        height={170}
        label={label}
        atMs={atMs}
        lines={lines}
        fromMs={startedMs}
        toMs={Math.max(seenMs, startedMs + 1000)}
        objective={1}
        floor={-0.15}
        marks={marks}
        format={(value) => `${Math.round(100 * value)} %`}
      />
    </figure>
  );
}
