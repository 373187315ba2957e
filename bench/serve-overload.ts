// Twice what the server can do, as many users who know nothing of each other send it: how much is answered in time, how
// much too late, how fast the rest is refused at the door, and how many are refused after they were let in.

import type { Part } from "./serve.bench.ts";
import { type Task, task } from "./serve-processes.ts";
import { binaryBody, type InputForm, Metrics, quantile, rounded } from "./serve-questions.ts";

const FORM: InputForm = { name: "x", dtype: "float32", shape: [1, 3, 32, 32] };
const DEADLINE_MS = 250;

interface Open {
  readonly sent: number;
  readonly seconds: number;
  readonly inTime: number;
  readonly late: number;
  readonly answers: Readonly<Record<string, number>>;
  readonly lateness: { readonly quantiles: readonly { readonly ms: number | null }[] };
}

interface Refusal {
  readonly status: number;
  readonly reason: string;
  readonly tookMs: number;
  /** How long it waited in the queue; undefined for who was refused at the door. */
  readonly queuedMs?: number;
}

/** Goodput beside the capacity that is measured just before and just after. */
export async function overload(part: Part): Promise<readonly Record<string, unknown>[]> {
  const { client, small } = part;
  const seconds = part.number("seconds", small ? 3 : 20);
  const rounds = part.number("rounds", small ? 1 : 3);
  // The model of CIFAR size: one client on the same two cores can send twice what it carries.
  const given = {
    models: { slow: part.model("slow"), resnet20: part.model("resnet20") },
    log: true,
  };
  await using server = await task("server.mjs", JSON.stringify(given));
  const { address } = await server.ask<{ address: string }>("where");
  const rows: Record<string, unknown>[] = [];
  for (const model of ["resnet20", "slow"]) {
    const url = `${address}/v2/models/${model}/infer`;
    const deadlineMs = model === "slow" ? 8 * DEADLINE_MS : DEADLINE_MS;
    const question = binaryBody(FORM);
    const headers = { ...question.headers, "x-request-timeout-ms": String(deadlineMs) };
    const asked = { url, body: question.body, headers };
    // Without deadlines: who is refused asks again at once, and would take the processor from the model.
    const patient = { ...asked, headers: question.headers };
    await capacityOf(client, patient, Math.min(4, seconds));
    for (let round = 0; round < rounds; round++) {
      const before = await capacityOf(client, patient, seconds / 2);
      await server.ask("refusals");
      const missedBefore = (await Metrics.of(address)).sum("skipway_deadline_misses_total");
      const found = await client.ask<Open>("open", {
        ...asked,
        rate: 2 * before,
        seconds,
        connectionsMax: 512,
        deadlineMs,
        seed: round + 1,
      });
      const missed =
        (await Metrics.of(address)).sum("skipway_deadline_misses_total") - missedBefore;
      const refusals = await server.ask<Refusal[]>("refusals");
      const after = await capacityOf(client, patient, seconds / 2);
      rows.push(rowOf({ model, deadlineMs, round, before, after, found, missed, refusals }));
      part.log(`overload ${model}: round ${round + 1} of ${rounds}`);
    }
  }
  return rows;
}

function rowOf(one: {
  readonly model: string;
  readonly deadlineMs: number;
  readonly round: number;
  readonly before: number;
  readonly after: number;
  readonly found: Open;
  readonly missed: number;
  readonly refusals: readonly Refusal[];
}): Record<string, unknown> {
  const { found, refusals, deadlineMs } = one;
  const capacity = (one.before + one.after) / 2;
  const took = refusals
    .filter(({ queuedMs }) => queuedMs === undefined)
    .map(({ tookMs }) => tookMs);
  const takenBack = refusals.length - took.length;
  const answered = found.inTime + found.late;
  return {
    model: one.model,
    round: one.round + 1,
    deadlineMs,
    capacityPerSecond: Math.round(capacity),
    sentPerSecond: Math.round(found.sent / found.seconds),
    goodputShare: rounded(found.inTime / found.seconds / capacity),
    goalGoodput: 0.9,
    // Answered, or cut off, after the deadline: none of them was started too late if this is 0.
    pastDeadline: one.missed,
    lateAnswers: found.late,
    pastDeadlineShare: rounded(one.missed / found.sent),
    goalPastDeadline: 0.005,
    refusedAtTheDoor: took.length,
    refusalP50Ms: rounded(quantile(took, 0.5)),
    refusalP99Ms: rounded(quantile(took, 0.99)),
    goalRefusalMs: 2,
    // Let in, and refused for the deadline before they ran, or cut off at it; of all that were let in.
    takenBack,
    takenBackShare: rounded(takenBack / Math.max(1, takenBack + answered)),
    answers: found.answers,
    clientLateP99Ms: found.lateness.quantiles[1]?.ms ?? null,
  };
}

interface Asked {
  readonly url: string;
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** Answers a second of a closed loop that keeps the model busy and refuses little. */
async function capacityOf(client: Task, asked: Asked, seconds: number): Promise<number> {
  const found = await client.ask<{
    readonly statuses: Readonly<Record<string, number>>;
    readonly seconds: number;
  }>("closed", { ...asked, connections: 40, seconds });
  return (found.statuses["200"] ?? 0) / found.seconds;
}
