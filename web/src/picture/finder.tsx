// The search of a picture: nodes by name or op, skips by id, kind, source or merge.

import type { RefObject } from "preact";
import { useId, useMemo, useState } from "preact/hooks";
import type { Picture } from "../../../src/analysis/picture/picture.ts";
import { type Focus, search } from "./state.ts";

interface FinderProps {
  readonly picture: Picture;
  readonly input: RefObject<HTMLInputElement | null>;
  readonly onChoose: (focus: Focus) => void;
  /** The search is over: the keyboard goes back to the picture. */
  readonly onLeave: () => void;
}

/** A box with a list of what was found below it. */
export function Finder({ picture, input, onChoose, onLeave }: FinderProps) {
  const list = useId();
  const [query, setQuery] = useState("");
  const [at, setAt] = useState(0);
  const { hits, count } = useMemo(() => search(picture, query), [picture, query]);
  const open = query.trim() !== "";

  function take(index: number): void {
    const hit = hits[index];
    if (hit === undefined) return;
    setQuery("");
    onChoose(hit.focus);
    onLeave();
  }

  function onKey(event: KeyboardEvent): void {
    const keys: Readonly<Record<string, () => void>> = {
      ArrowDown: () => setAt(Math.min(hits.length - 1, at + 1)),
      ArrowUp: () => setAt(Math.max(0, at - 1)),
      Enter: () => take(at),
      Escape: () => {
        setQuery("");
        onLeave();
      },
    };
    const act = keys[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  }

  return (
    <div class="finder">
      <input
        ref={input}
        type="text"
        role="combobox"
        aria-label="Search nodes, ops and skips"
        aria-expanded={open}
        aria-controls={list}
        aria-activedescendant={open && hits.length > 0 ? `${list}-${at}` : undefined}
        placeholder="Search nodes, ops, skips  ( / )"
        value={query}
        onInput={(event) => {
          setQuery(event.currentTarget.value);
          setAt(0);
        }}
        onKeyDown={onKey}
      />
      <div class="hits" hidden={!open}>
        <p role="status">{count === 0 ? "nothing found" : `${count} found`}</p>
        <div role="listbox" id={list} aria-label="Found">
          {hits.map((hit, i) => (
            // biome-ignore lint/a11y/useKeyWithClickEvents: the keys go to the box, as in any combobox
            <div
              key={`${hit.focus.kind} ${hit.text}`}
              id={`${list}-${i}`}
              role="option"
              tabIndex={-1}
              aria-selected={i === at}
              onClick={() => take(i)}
            >
              {hit.text}
            </div>
          ))}
        </div>
      </div>
    </div>
  );
}
