// The question before an act on a rollout: first what the server says would happen, then the act itself.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { RolloutStatus } from "../../../src/rollout/document.ts";
import type { Plan } from "../on-call/acts.ts";
import { Dialog } from "../on-call/dialogs.tsx";
import { type ActView, actPlan } from "./acts.ts";
import { type Answer, dryRun } from "./dry-run.ts";
import { effectTexts, meaningOf } from "./forecast.ts";

/** The dialog. */
export function ActDialog(props: {
  readonly rollout: RolloutStatus;
  readonly view: ActView;
  perform(plan: Plan): void;
  close(): void;
}) {
  const { rollout, view, perform, close } = props;
  const [answer, setAnswer] = useState<Answer | undefined>(undefined);
  const [reason, setReason] = useState("");
  const first = useRef(rollout);
  useEffect(() => {
    let open = true;
    void dryRun(first.current, view).then((found) => {
      if (open) setAnswer(found);
    });
    return () => {
      open = false;
    };
  }, [view]);
  const plan = actPlan(rollout, view, reason);
  return (
    <Dialog title={plan.title} close={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (mayBeDone(answer)) perform(plan);
        }}
      >
        <p>{meaningOf(view.act, rollout)}</p>
        <Told answer={answer} />
        <p class="note">
          <code>
            {plan.method} {plan.path}
          </code>
        </p>
        <label class="reason">
          Reason, for the record
          <input
            type="text"
            maxLength={200}
            value={reason}
            onInput={({ currentTarget }) => setReason(currentTarget.value)}
          />
        </label>
        <p class="answers">
          <Go label={view.label} ready={mayBeDone(answer)} />
          <button type="button" onClick={close}>
            Cancel <kbd>Esc</kbd>
          </button>
        </p>
      </form>
    </Dialog>
  );
}

/** Who cannot ask first may have to act all the same: a server that is slow is no reason to keep a bad version. */
function mayBeDone(answer: Answer | undefined): boolean {
  return answer !== undefined && answer.kind !== "refused";
}

/** The button has the focus as soon as it can be pressed, unless a reason is being typed. */
function Go({ label, ready }: { label: string; ready: boolean }) {
  const button = useRef<HTMLButtonElement>(null);
  useLayoutEffect(() => {
    const { activeElement } = document;
    const typing = activeElement instanceof HTMLInputElement && activeElement.value !== "";
    if (ready && !typing) button.current?.focus();
  }, [ready]);
  return (
    <button type="submit" class="strong" ref={button} disabled={!ready}>
      {label} <kbd>Enter</kbd>
    </button>
  );
}

function Told({ answer }: { answer: Answer | undefined }) {
  return (
    <div role="status" data-testid="dry-run">
      {answer === undefined && <p>◔ Asking the server what will happen…</p>}
      {answer?.kind === "refused" && (
        <p class="outcome bad">
          ▲ Refused: <bdi>{answer.text}</bdi>
        </p>
      )}
      {answer?.kind === "unknown" && (
        <p class="outcome bad">
          ▲ What will happen is not known: <bdi>{answer.text}</bdi>
        </p>
      )}
      {answer?.kind === "known" && (
        <>
          <p>At once, as the server foresees it:</p>
          <ul>
            {effectTexts(answer.effects).map((text) => (
              <li key={text}>
                <bdi>{text}</bdi>
              </li>
            ))}
          </ul>
        </>
      )}
    </div>
  );
}
