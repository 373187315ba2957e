// A picture of skips to look around in: hover or arrow keys tell of a skip or of a moment, blocks fold and
// unfold, a search finds nodes and skips. The same on the page of a model and in a file by itself.

import type { RefObject } from "preact";
import { useEffect, useId, useMemo, useRef, useState } from "preact/hooks";
import {
  foldedAtFirst,
  layoutPicture,
  MARGIN,
  type PictureLayout,
  placeAt,
  xOf,
} from "../../../src/analysis/picture/layout.ts";
import { LOOKS } from "../../../src/analysis/picture/looks.ts";
import type { Picture } from "../../../src/analysis/picture/picture.ts";
import { Details } from "./details.tsx";
import { Drawing } from "./drawing.tsx";
import { Finder } from "./finder.tsx";
import {
  type Focus,
  keyed,
  toggled,
  unfoldedFor,
  type View,
  ZOOM_MAX,
  ZOOM_STEP,
} from "./state.ts";

/** A picture with its tools and what it tells. */
export function Viewer({ picture }: { picture: Picture }) {
  const name = `picture${useId().replaceAll(/\W/g, "")}`;
  const stage = useRef<HTMLDivElement>(null);
  const searchBox = useRef<HTMLInputElement>(null);
  const width = useWidth(stage);
  const [view, setView] = useState<View>(() => ({
    folded: foldedAtFirst(picture, width),
    zoom: 1,
    chosen: undefined,
  }));
  // What was chosen stays; what the pointer is over is shown for as long as it is there.
  const [hovered, setHovered] = useState<Focus>();
  const { folded, zoom, chosen } = view;
  const layout = useMemo(
    () => layoutPicture(picture, { width, folded, zoom }),
    [picture, width, folded, zoom],
  );
  useEffect(() => announce(stage.current, name, chosen, picture), [chosen, layout]);
  useEffect(() => {
    if (chosen !== undefined) scrollTo(stage.current, middleOf(layout, chosen));
  }, [chosen]);

  const choose = (target: Focus): void => {
    setHovered(undefined);
    setView((now) => ({
      ...now,
      folded: unfoldedFor(picture, now.folded, target),
      chosen: target,
    }));
  };
  const fold = (ids: ReadonlySet<string>): void => setView((now) => ({ ...now, folded: ids }));
  const onKey = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const next = event.key === "/" ? view : keyed(picture, view, event.key);
    if (next === undefined) return;
    event.preventDefault();
    if (event.key === "/") searchBox.current?.focus();
    setHovered(undefined);
    setView(next);
  };
  return (
    <div class="viewer">
      <div class="tools">
        <Finder
          picture={picture}
          input={searchBox}
          onChoose={choose}
          onLeave={() => stage.current?.focus()}
        />
        <Buttons picture={picture} view={view} onView={setView} />
      </div>
      <Legend picture={picture} />
      <Stage
        {...{ picture, layout, name, view, hovered }}
        stage={stage}
        onKey={onKey}
        onView={setView}
        onHover={setHovered}
      />
      <Keys />
      <Details picture={picture} focus={hovered ?? chosen} onChoose={choose} />
      <BlockList picture={picture} folded={folded} onToggle={(id) => fold(toggled(folded, id))} />
    </div>
  );
}

interface StageProps {
  readonly picture: Picture;
  readonly layout: PictureLayout;
  readonly name: string;
  readonly view: View;
  readonly hovered: Focus | undefined;
  readonly stage: RefObject<HTMLDivElement | null>;
  readonly onKey: (event: KeyboardEvent) => void;
  readonly onView: (view: View) => void;
  readonly onHover: (focus: Focus | undefined) => void;
}

/** The drawing in a box that scrolls, with pointer and keyboard. */
function Stage(props: StageProps) {
  const { picture, layout, name, view, hovered, stage, onKey, onView, onHover } = props;
  const { chosen, zoom, folded } = view;
  const id = chosen?.kind === "skip" ? picture.skips[chosen.skip]?.id : undefined;

  const pointed = (event: MouseEvent): Focus | undefined => {
    const target = event.target instanceof Element ? event.target : undefined;
    const skip = target?.closest("[data-skip]")?.getAttribute("data-skip");
    if (skip) return { kind: "skip", skip: Number(skip) };
    const { x, y } = within(stage.current, event);
    const place = placeAt(layout.edges, x);
    const onPath = y > layout.reach + 14 && place >= 0 && place < picture.nodes.length;
    return onPath ? { kind: "moment", place } : undefined;
  };
  const onClick = (event: MouseEvent): void => {
    const target = event.target instanceof Element ? event.target.closest("[data-block]") : null;
    const block = target?.getAttribute("data-block");
    onView(
      block ? { ...view, folded: toggled(folded, block) } : { ...view, chosen: pointed(event) },
    );
  };
  /** Nearer or farther, with the place under the pointer staying where it is. */
  const onWheel = (event: WheelEvent): void => {
    const box = stage.current;
    if (!event.ctrlKey || box === null) return;
    event.preventDefault();
    const next = Math.max(1, Math.min(ZOOM_MAX, zoom * (event.deltaY < 0 ? 1.2 : 1 / 1.2)));
    const { x } = within(box, event);
    const left = MARGIN + (x - MARGIN) * (next / zoom) - (x - box.scrollLeft);
    onView({ ...view, zoom: next });
    requestAnimationFrame(() => {
      box.scrollLeft = left;
    });
  };
  return (
    <div
      class="stage"
      ref={stage}
      role="listbox"
      aria-label={`${picture.skips.length} skip connections; arrow keys go from one to the next`}
      tabIndex={0}
      aria-activedescendant={id === undefined ? undefined : `${name}-${id}`}
      onKeyDown={onKey}
      onPointerMove={(event) => onHover(event.buttons === 0 ? pointed(event) : undefined)}
      onPointerLeave={() => onHover(undefined)}
      onClick={onClick}
      onWheel={onWheel}
    >
      <Drawing picture={picture} layout={layout} name={name} focus={hovered ?? chosen} />
    </div>
  );
}

/** Where an event is in what a box shows, scrolled away or not. */
function within(box: HTMLElement | null, event: MouseEvent): { x: number; y: number } {
  if (box === null) return { x: -1, y: -1 };
  const { left, top } = box.getBoundingClientRect();
  return { x: event.clientX - left + box.scrollLeft, y: event.clientY - top + box.scrollTop };
}

function middleOf(layout: PictureLayout, focus: Focus): number {
  if (focus.kind === "moment") return xOf(layout.edges, focus.place);
  const placed = layout.skips[focus.skip];
  return placed === undefined ? 0 : (placed.x1 + placed.x2) / 2;
}

function Buttons({
  picture,
  view,
  onView,
}: {
  picture: Picture;
  view: View;
  onView: (view: View) => void;
}) {
  const { folded, zoom } = view;
  const runs = picture.blocks.filter(({ repeats }) => repeats > 1).map(({ id }) => id);
  const zoomTo = (to: number): void =>
    onView({ ...view, zoom: Math.max(1, Math.min(ZOOM_MAX, to)) });
  return (
    <span class="buttons">
      <button
        type="button"
        onClick={() => onView({ ...view, folded: new Set(runs) })}
        disabled={runs.length === 0}
      >
        Fold repeated blocks
      </button>
      <button
        type="button"
        onClick={() => onView({ ...view, folded: new Set() })}
        disabled={folded.size === 0}
      >
        Unfold all
      </button>
      <button
        type="button"
        aria-label="Zoom out"
        onClick={() => zoomTo(zoom / ZOOM_STEP)}
        disabled={zoom <= 1}
      >
        −
      </button>
      <button
        type="button"
        aria-label="Zoom in"
        onClick={() => zoomTo(zoom * ZOOM_STEP)}
        disabled={zoom >= ZOOM_MAX}
      >
        +
      </button>
    </span>
  );
}

function Keys() {
  return (
    <p class="keys">
      <kbd>←</kbd> <kbd>→</kbd> between skips · <kbd>↑</kbd> <kbd>↓</kbd> outer and inner ·{" "}
      <kbd>Enter</kbd> folds and unfolds · <kbd>m</kbd> memory, <kbd>s</kbd> skips · <kbd>/</kbd>{" "}
      searches · <kbd>+</kbd> <kbd>−</kbd> zoom · <kbd>Esc</kbd> lets go
    </p>
  );
}

function Legend({ picture }: { picture: Picture }) {
  const kinds = [...new Set(picture.skips.map(({ kind }) => kind))];
  return (
    <p class="kinds">
      {kinds.map((kind) => (
        <span key={kind}>
          <svg width="30" height="8" aria-hidden="true">
            <path
              class="skip"
              d="M0 4H30"
              stroke-width="3"
              stroke-dasharray={LOOKS[kind].dash}
              style={{ "--light": LOOKS[kind].light, "--dark": LOOKS[kind].dark }}
            />
          </svg>{" "}
          {kind}
        </span>
      ))}
      <span>width: bytes carried</span>
      {picture.skips.some(({ atPeak }) => atPeak) && <span>◆ alive at the memory peak</span>}
      <span>hatched: memory for skips alone</span>
      {picture.memory.unknown > 0 && (
        <span>{picture.memory.unknown} values of unknown size left out</span>
      )}
    </p>
  );
}

/** Blocks as buttons: folding without a pointer, and without knowing where they stand. */
function BlockList({
  picture,
  folded,
  onToggle,
}: {
  picture: Picture;
  folded: ReadonlySet<string>;
  onToggle: (id: string) => void;
}) {
  const runs = picture.blocks.filter(({ repeats }) => repeats > 1);
  if (runs.length === 0) return null;
  return (
    <section class="blocks" aria-label="Repeated blocks">
      {runs.map(({ id, repeats, label, skips }) => (
        <button key={id} type="button" aria-expanded={!folded.has(id)} onClick={() => onToggle(id)}>
          {`${folded.has(id) ? "▸" : "▾"} ${repeats} × ${label}, ${skips} skips`}
        </button>
      ))}
    </section>
  );
}

/** The width that there is, followed when the window changes. */
function useWidth(stage: { readonly current: HTMLDivElement | null }): number {
  const [width, setWidth] = useState(() => Math.min(1180, document.documentElement.clientWidth));
  useEffect(() => {
    const view = stage.current;
    if (view === null) return;
    const watch = new ResizeObserver(() => setWidth(Math.max(320, view.clientWidth)));
    watch.observe(view);
    return () => watch.disconnect();
  }, []);
  return width;
}

/** Tells assistive software which arc is chosen: the arcs themselves are not drawn anew. */
function announce(
  view: HTMLElement | null,
  name: string,
  chosen: Focus | undefined,
  picture: Picture,
): (() => void) | undefined {
  const id = chosen?.kind === "skip" ? picture.skips[chosen.skip]?.id : undefined;
  const element = id === undefined ? null : view?.querySelector(`#${name}-${id}`);
  if (!element) return undefined;
  element.setAttribute("aria-selected", "true");
  return () => element.setAttribute("aria-selected", "false");
}

function scrollTo(view: HTMLElement | null, x: number): void {
  if (view === null || view.scrollWidth <= view.clientWidth) return;
  const away = Math.abs(x - view.scrollLeft - view.clientWidth / 2);
  if (away > view.clientWidth * 0.4) view.scrollLeft = x - view.clientWidth / 2;
}
