// One run of a model for one request or many, and what refusals and failures of it mean for a request.

import { present } from "../base/assert.ts";
import type { ChildSession } from "../runtime/child-process.ts";
import type { Tensors } from "../runtime/runner.ts";
import type { InputShapes } from "./admission/batch-axis.ts";
import type { Refusal } from "./batcher/types.ts";
import type { EndSignal } from "./end-signal.ts";
import { CLIENT_CLOSED, RequestError } from "./errors.ts";
import { asAsked, type GatePassed, type Gates, passedGates, withGates } from "./gates.ts";
import type { InferenceCall } from "./inference.ts";

/** What came of a run: an answer for each member. */
export interface Computed {
  readonly answers: readonly Tensors[];
  /** Milliseconds inside the model; undefined where the process does not tell. */
  readonly inferMs: number | undefined;
  /** Of models that have gates. */
  readonly gates: readonly GatePassed[];
}

/** Shapes of the inputs of a request. */
export function shapesOf({ inputs }: Pick<InferenceCall, "inputs">): InputShapes {
  return new Map([...inputs].map(([name, { shape }]) => [name, shape]));
}

/** Runs the members, all of one bucket, together. */
export async function compute(
  session: ChildSession,
  members: readonly InferenceCall[],
  gates: Gates = new Map(),
): Promise<Computed> {
  const { inputs, outputs: asked } = present(members[0], "batches have members");
  const outputs = gates.size === 0 ? asked : withGates(asked, gates);
  let inferMs: number | undefined;
  const onComputed = (ms: number): void => {
    inferMs = ms;
  };
  const options = { onComputed, ...(outputs !== undefined && { outputs }) };
  const answers =
    members.length === 1
      ? [await session.run(inputs, options)]
      : await session.runBatch(
          members.map((one) => one.inputs),
          options,
        );
  if (gates.size === 0) return { answers, inferMs, gates: [] };
  const passed = passedGates(gates, answers);
  return { answers: answers.map((one) => asAsked(one, asked)), inferMs, gates: passed };
}

/** The status and the label of each refusal. */
const REFUSALS = {
  "queue-full": [429, "queue-full"],
  deadline: [504, "deadline"],
  "memory-never": [507, "memory"],
  "memory-later": [503, "memory"],
  canceled: [CLIENT_CLOSED, "canceled"],
} as const;

/** The batcher's refusal, as the request's answer. */
export function refusalOf({ reason, text, retryAfterMs }: Refusal): RequestError {
  const [status, label] = REFUSALS[reason];
  if (retryAfterMs === undefined) return new RequestError(status, label, text);
  const retryAfterSeconds = Math.max(1, Math.ceil(retryAfterMs / 1000));
  return new RequestError(status, label, text, { retryAfterSeconds });
}

/** What a request gets whose version is taken back: a reason to ask stable. */
export function withdrawal(): RequestError {
  const text = "the version that was to answer was taken back";
  return new RequestError(503, "withdrawn", text, { retryAfterSeconds: 1 });
}

/** A client that went away, or what else ended the request, such as its deadline. */
export function endedBy(signal: EndSignal | undefined): RequestError {
  const reason: unknown = signal?.reason;
  if (reason instanceof RequestError) return reason;
  return new RequestError(CLIENT_CLOSED, "canceled", "the client went away");
}
