// What opens over the page: the question before an act, the form of a split, the keys.

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { SplitStatus, VersionStatus } from "../../../src/dashboard/api.ts";
import { type Plan, type SplitForm, splitForm, splitPlan } from "./acts.ts";
import { KEYS } from "./keys.ts";

/** A modal dialog; whatever had the focus has it again afterwards. */
export function Dialog(props: { title: string; close(): void; children: ComponentChildren }) {
  const element = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const { activeElement: before } = document;
    element.current?.showModal();
    return () => {
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  // The browser closes a dialog at once and tells so later: a key that comes between would still be the dialog's.
  const pressed = (event: KeyboardEvent): void => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    props.close();
  };
  return (
    <dialog ref={element} aria-labelledby="dialog-title" onKeyDown={pressed} onClose={props.close}>
      <h2 id="dialog-title">
        <bdi>{props.title}</bdi>
      </h2>
      {props.children}
    </dialog>
  );
}

/** Says what will happen, and asks. */
export function Confirm(props: { plan: Plan; perform(plan: Plan): void; close(): void }) {
  const { plan, perform, close } = props;
  return (
    <Dialog title={plan.title} close={close}>
      <p>{plan.text}</p>
      <p class="note">
        <code>
          {plan.method} {plan.path}
        </code>
      </p>
      <Answer title={plan.title} perform={() => perform(plan)} close={close} />
    </Dialog>
  );
}

function Answer(props: { title: string; perform(): void; close(): void }) {
  const button = useRef<HTMLButtonElement>(null);
  useLayoutEffect(() => button.current?.focus(), []);
  return (
    <p class="answers">
      <button type="button" class="strong" ref={button} onClick={props.perform}>
        {props.title}
      </button>
      <button type="button" onClick={props.close}>
        Cancel <kbd>Esc</kbd>
      </button>
    </p>
  );
}

/** Who gets which requests: the form, and below it what it says. */
export function Split(props: {
  status: VersionStatus;
  split: SplitStatus | undefined;
  versions: readonly number[];
  perform(plan: Plan): void;
  close(): void;
}) {
  const { status, versions, perform, close } = props;
  const [form, setForm] = useState<SplitForm>(() => splitForm(props.split, status));
  const share = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => share.current?.select(), []);
  const plan = splitPlan(status.model, form);
  const change = (field: keyof SplitForm) => (event: Event) => {
    const { target } = event;
    if (target instanceof HTMLInputElement || target instanceof HTMLSelectElement) {
      setForm({ ...form, [field]: target.value });
    }
  };
  const choice = (field: keyof SplitForm, name: string, none: boolean) => (
    <label>
      {name}
      <select value={form[field]} onChange={change(field)}>
        {none && <option value="">none</option>}
        {versions.map((one) => (
          <option key={one} value={String(one)}>
            version {one}
          </option>
        ))}
      </select>
    </label>
  );
  return (
    <Dialog title={plan.title} close={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          perform(plan);
        }}
      >
        <div class="fields">
          {choice("stable", "Stable", false)}
          {choice("candidate", "Candidate", true)}
          <label>
            Share of the candidate, %
            <input
              ref={share}
              type="number"
              min="0"
              max="100"
              step="any"
              value={form.percent}
              onInput={change("percent")}
            />
          </label>
          {choice("shadow", "Shadow", true)}
        </div>
        <p aria-live="polite">{plan.text}</p>
        <p class="answers">
          <button type="submit" class="strong">
            Set the split <kbd>Enter</kbd>
          </button>
          <button type="button" onClick={close}>
            Cancel <kbd>Esc</kbd>
          </button>
        </p>
      </form>
    </Dialog>
  );
}

/** The keys. */
export function Help({ close }: { close(): void }) {
  return (
    <Dialog title="Keys" close={close}>
      <dl class="keys">
        {KEYS.map(({ keys, text, command }) => (
          <div key={command}>
            <dt>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{text}</dd>
          </div>
        ))}
      </dl>
      <p class="answers">
        <button type="button" onClick={close}>
          Close <kbd>Esc</kbd>
        </button>
      </p>
    </Dialog>
  );
}
