// The evidence of each gate over time, as a share of its limit: what the server sent first, and what came since.

import type { RolloutStatus } from "../../../src/rollout/document.ts";
import type { GateName, PathPoint } from "../../../src/rollout/judge/types.ts";
import { verdictOf } from "./verdict.ts";

/** More points than pixels show nothing more. */
const POINTS_MAX = 4000;

/** The path with what a verdict adds to it at a time. The oldest half is thinned where it grows too long. */
export function withVerdict(
  path: readonly PathPoint[],
  status: Pick<RolloutStatus, "verdict">,
  nowMs: number,
): readonly PathPoint[] {
  const more = verdictOf(status)
    .gates.filter(({ gate, logE }) => {
      const before = path.findLast((point) => point.gate === gate);
      return before === undefined || (before.atMs < nowMs && before.logE !== logE);
    })
    .map(({ gate, logE }) => ({ atMs: nowMs, gate, logE }));
  if (more.length === 0) return path;
  const all = [...path, ...more];
  return all.length > POINTS_MAX ? thinned(all) : all;
}

/** Every other moment of the older half is left out. */
function thinned(path: readonly PathPoint[]): readonly PathPoint[] {
  const half = path.length / 2;
  const moments = [...new Set(path.slice(0, half).map(({ atMs }) => atMs))];
  const dropped = new Set(moments.filter((_, i) => i % 2 === 1));
  return path.filter(({ atMs }, i) => i >= half || !dropped.has(atMs));
}

/** Evidence as lines of a chart. */
export interface EvidenceLines {
  readonly atMs: readonly number[];
  readonly gates: readonly {
    readonly gate: GateName;
    /** 1 is the limit. */
    readonly values: readonly (number | null)[];
  }[];
}

/** Lines up to a time: evidence begins with nothing (E is 1), and stays as it was until it changes. */
export function evidenceLines(
  path: readonly PathPoint[],
  status: Pick<RolloutStatus, "verdict" | "startedMs">,
  toMs: number,
): EvidenceLines {
  const { startedMs } = status;
  const atMs = [...new Set([startedMs, ...path.map((point) => point.atMs), toMs])].sort(
    (a, b) => a - b,
  );
  const places = new Map(atMs.map((at, i) => [at, i]));
  const gates = verdictOf(status).gates.map(({ gate, limit }) => {
    const values: (number | null)[] = atMs.map((at) => (at === startedMs ? 0 : null));
    for (const point of path) {
      if (point.gate === gate) values[places.get(point.atMs) ?? 0] = point.logE / limit;
    }
    let last: number | null = null;
    for (const [i, value] of values.entries()) {
      last = value ?? last;
      values[i] = last;
    }
    return { gate, values };
  });
  return { atMs, gates };
}
