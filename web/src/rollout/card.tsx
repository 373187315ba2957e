// The card of one rollout: where it is, what the judge knows, what is missing, and what one can do about it.

import { Fragment } from "preact";
import type { ServingStatus } from "../../../src/dashboard/api.ts";
import type { RolloutStatus } from "../../../src/rollout/document.ts";
import { percentText } from "../format.ts";
import { keyFor } from "../on-call/keys.ts";
import type { Mark } from "../on-call/kinds.ts";
import { type ActView, actsOf } from "./acts.ts";
import { Comparison } from "./comparison.tsx";
import { EvidenceChart } from "./evidence-chart.tsx";
import { Gates } from "./gates.tsx";
import type { KnownRollout } from "./known.ts";
import { hasEnded } from "./verdict.ts";
import { phaseWords, reasonTexts, stepsOf, verdictText, verdictWord, type Word } from "./view.ts";

/** What a card is given. */
export interface CardProps {
  readonly known: KnownRollout;
  readonly status: ServingStatus;
  /** The newest first. */
  readonly marks: readonly Mark[];
  act(view: ActView): void;
  /** Closes it; one that is under way stays. */
  close?(): void;
}

/** One rollout. */
export function Card(props: CardProps) {
  const { known, status, marks, act, close } = props;
  const rollout = known.status;
  const { id, model, from, to, reason } = rollout;
  const title = `rollout-${id}`;
  return (
    <section aria-labelledby={title} class="rollout" data-rollout={id}>
      <h2 id={title}>
        <bdi>{model}</bdi> {from} → {to}{" "}
        <span class="words">
          {phaseWords(rollout).map((word) => (
            <Badge key={word.text} word={word} />
          ))}
        </span>
        <Acts rollout={rollout} act={act} />
        {close !== undefined && (
          <button type="button" class="close" onClick={close}>
            Close
          </button>
        )}
      </h2>
      <Ramp rollout={rollout} />
      <p class="verdict">
        {/* The word alone is read out when it changes: the rest changes each second. */}
        <span aria-live="polite">
          <Badge word={verdictWord(rollout)} />
        </span>{" "}
        <b>{verdictText(rollout)}</b>
        {reason !== null && (
          <small>
            {" · "}
            {reasonTexts(reason, verdictText(rollout)).map((text, i) => (
              <Fragment key={text}>
                {i > 0 && ", "}
                <bdi>{text}</bdi>
              </Fragment>
            ))}
          </small>
        )}
      </p>
      {rollout.fault !== null && (
        <p class="outcome bad">
          ▲ <bdi>{rollout.fault}</bdi>
        </p>
      )}
      <div class="rollout-parts">
        <Gates rollout={rollout} />
        <div>
          <EvidenceChart known={known} marks={marks} />
          <Comparison rollout={rollout} status={status} />
        </div>
      </div>
    </section>
  );
}

/** A sign and a word. */
function Badge({ word }: { word: Word }) {
  return (
    <span class={`badge ${word.tone}`}>
      <span aria-hidden="true">{word.sign}</span> {word.text}
    </span>
  );
}

function Acts({ rollout, act }: Pick<CardProps, "act"> & { rollout: RolloutStatus }) {
  return (
    <span class="acts">
      {actsOf(rollout).map((view) => (
        <button
          key={view.act}
          type="button"
          class={view.act === "abort" ? "strong" : ""}
          onClick={() => act(view)}
        >
          {view.label} <kbd>{keyFor(view.command)}</kbd>
        </button>
      ))}
    </span>
  );
}

const STEP_SIGNS = { done: "✓", now: "●", next: "", stopped: "✕", skipped: "–" } as const;
const STEP_WORDS = {
  done: "done",
  now: "now",
  next: "to come",
  stopped: "stopped here",
  skipped: "left out",
} as const;

function Ramp({ rollout }: { rollout: RolloutStatus }) {
  const { model, share, from, to } = rollout;
  const ended = hasEnded(rollout);
  return (
    <div class="ramp">
      <ol aria-label={`Steps of the rollout of ${model}`}>
        {stepsOf(rollout).map(({ text, state }) => (
          <li key={text} class={state} aria-current={state === "now" ? "step" : undefined}>
            <span aria-hidden="true">{STEP_SIGNS[state]}</span> {text}
            <span class="hidden"> {STEP_WORDS[state]}</span>
          </li>
        ))}
      </ol>
      {!ended && (
        <span>
          now <b>{percentText(share)}</b> to version {to}, {percentText(1 - share)} to {from}
        </span>
      )}
    </div>
  );
}
