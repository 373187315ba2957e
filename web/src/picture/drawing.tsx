// The drawing itself. What does not change while the pointer moves is one element that is kept; what is looked
// at is drawn over it.

import { useMemo } from "preact/hooks";
import {
  type PictureLayout,
  type PlacedSkip,
  pathOf,
  round,
  xOf,
} from "../../../src/analysis/picture/layout.ts";
import { LOOKS } from "../../../src/analysis/picture/looks.ts";
import type { Picture } from "../../../src/analysis/picture/picture.ts";
import {
  bandPath,
  blockLabels,
  circle,
  nodePaths,
  stageLabels,
} from "../../../src/analysis/picture/shapes.ts";
import { bytesOf, describeSkip } from "../../../src/analysis/picture/words.ts";
import { bytes } from "../format.ts";
import type { Focus } from "./state.ts";

const TOP = 22;
const BELOW = 56;
const BAND = 96;
const TAIL = 26;
/** More arcs have no wide invisible line around them that is easier to hit. */
const EASY_MAX = 1500;

interface DrawingProps {
  readonly picture: Picture;
  readonly layout: PictureLayout;
  /** Distinguishes the ids of two pictures on one page. */
  readonly name: string;
  readonly focus: Focus | undefined;
}

/** Main path, arcs and memory band of a picture. */
export function Drawing({ picture, layout, name, focus }: DrawingProps) {
  const base = Math.round(TOP + layout.reach);
  const bottom = base + BELOW + BAND;
  const ground = useMemo(
    () => (
      <g class="ground">
        <Blocks layout={layout} base={base} />
        <Stages picture={picture} layout={layout} base={base} />
        <MainPath picture={picture} layout={layout} base={base} />
        <Arcs picture={picture} layout={layout} base={base} name={name} />
        <Band picture={picture} layout={layout} base={base} bottom={bottom} name={name} />
      </g>
    ),
    [picture, layout, name],
  );
  return (
    <svg
      class={focus === undefined ? "drawing" : "drawing looking"}
      role="presentation"
      width={layout.width}
      height={bottom + TAIL}
      viewBox={`0 0 ${layout.width} ${bottom + TAIL}`}
    >
      <defs>
        <pattern
          id={`${name}-hatch`}
          width="6"
          height="6"
          patternUnits="userSpaceOnUse"
          patternTransform="rotate(45)"
        >
          <path class="hatch" d="M0 0V6" />
        </pattern>
      </defs>
      {ground}
      {focus?.kind === "skip" && (
        <LitSkip picture={picture} layout={layout} base={base} bottom={bottom} skip={focus.skip} />
      )}
      {focus?.kind === "moment" && (
        <Moment picture={picture} layout={layout} base={base} bottom={bottom} place={focus.place} />
      )}
    </svg>
  );
}

interface PartProps {
  readonly picture: Picture;
  readonly layout: PictureLayout;
  readonly base: number;
}

function Blocks({ layout, base }: Omit<PartProps, "picture">) {
  return (
    <g>
      {layout.blocks
        .filter(({ folded }) => !folded)
        .map(({ block, left, right }) => (
          <rect
            key={block.id}
            class={`open repeats-${block.repeats > 1 ? "many" : "one"}`}
            data-block={block.id}
            x={round(left + 1)}
            y={base + 28}
            width={round(Math.max(1, right - left - 2))}
            height={block.repeats > 1 ? 9 : 5}
            rx="2"
          >
            <title>{`${block.label}: fold`}</title>
          </rect>
        ))}
      {blockLabels(layout).map(({ placed, whole, text, x }) => (
        <g key={placed.block.id} data-block={placed.block.id} class="folded">
          <title>{`${whole}: unfold`}</title>
          <rect
            x={round(placed.left)}
            y={base - 8}
            width={round(placed.right - placed.left)}
            height="16"
            rx="4"
          />
          {text !== "" && (
            <text x={x} y={base + 40}>
              {text}
            </text>
          )}
        </g>
      ))}
    </g>
  );
}

function Stages({ picture, layout, base }: PartProps) {
  return (
    <g class="stages">
      {stageLabels(picture, layout).map(({ x, text }) => (
        <g key={x}>
          <path d={`M${x} ${base + 12}V${base + 26}`} />
          <text x={x + 4} y={base + 24}>
            {text}
          </text>
        </g>
      ))}
    </g>
  );
}

function MainPath({ picture, layout, base }: PartProps) {
  const [start, end] = [xOf(layout.edges, -1), xOf(layout.edges, picture.nodes.length)].map(round);
  return (
    <g>
      <path class="main" d={`M${start} ${base}H${end}`} />
      {nodePaths(picture, layout, base).map(({ role, path }) => (
        <path key={role} class={`node ${role}`} d={path} />
      ))}
      <path class="node merge" d={circle(start ?? 0, base, 3.4) + circle(end ?? 0, base, 3.4)} />
    </g>
  );
}

function Arcs({ picture, layout, base, name }: PartProps & { name: string }) {
  const easy = picture.skips.length <= EASY_MAX;
  return (
    <g fill="none">
      {layout.skips.map((placed, i) => {
        const { skip } = placed;
        const path = pathOf(placed, base - 6);
        return (
          <g
            key={skip.id}
            id={`${name}-${skip.id}`}
            data-skip={i}
            role="option"
            aria-selected="false"
            aria-label={describeSkip(skip)}
            tabIndex={-1}
          >
            {easy && <path class="easy" d={path} />}
            <path class="skip" d={path} stroke-width={round(placed.stroke)} {...lookOf(placed)} />
            <Mark placed={placed} base={base} />
          </g>
        );
      })}
    </g>
  );
}

/** Colour for either paper, by which the style sheet chooses, and dash pattern. */
function lookOf({ skip }: PlacedSkip) {
  const { light, dark, dash } = LOOKS[skip.kind];
  return { style: { "--light": light, "--dark": dark }, "stroke-dasharray": dash };
}

function Mark({ placed, base }: { placed: PlacedSkip; base: number }) {
  const { skip, x1, x2, height } = placed;
  const mark = skip.atPeak ? "◆" : "";
  const text = (x2 - x1) / 9 > skip.id.length + mark.length ? mark + skip.id : mark;
  if (text === "") return null;
  return (
    <text
      class={skip.atPeak ? "id at-peak" : "id"}
      x={round((x1 + x2) / 2)}
      y={round(base - 11 - height)}
    >
      {text}
    </text>
  );
}

function Band({
  picture,
  layout,
  base,
  bottom,
  name,
}: PartProps & { bottom: number; name: string }) {
  const { memory } = picture;
  if (picture.nodes.length === 0) return null;
  const place = { bottom, height: BAND - 20, most: memory.peakBytes };
  const x = round(xOf(layout.edges, memory.peakAt));
  const end = x > layout.width / 2;
  return (
    <g>
      <path class="alive" d={bandPath(memory.bytes, layout, place)} />
      <path
        class="held"
        fill={`url(#${name}-hatch)`}
        d={bandPath(memory.skipBytes, layout, place)}
      />
      <path class="peak" d={`M${x} ${base + 8}V${bottom}`} />
      <text
        class="peak-label"
        x={x + (end ? 4 : -4)}
        y={bottom + 17}
        text-anchor={end ? "end" : "start"}
      >
        {`peak ${bytes(memory.peakBytes)} at ${picture.nodes[memory.peakAt]?.name ?? ""}`}
      </text>
    </g>
  );
}

/** A skip with its main path, its ends and the stretch in which memory is held for it alone. */
function LitSkip({
  picture,
  layout,
  base,
  bottom,
  skip: index,
}: PartProps & { bottom: number; skip: number }) {
  const placed = layout.skips[index];
  if (placed === undefined) return null;
  const { skip, x1, x2, stroke } = placed;
  const { edges } = layout;
  const [from, to] = [round(xOf(edges, skip.from)), round(xOf(edges, skip.to))];
  const held = skip.alone;
  const [left, right] = [edges[(held?.[0] ?? 0) + 1] ?? 0, edges[(held?.[1] ?? 0) + 2] ?? 0];
  const share = (skip.bytes ?? 0) / Math.max(1, picture.memory.peakBytes);
  const tall = Math.max(2, Math.min(1, share) * (BAND - 20));
  return (
    <g class="lit" pointer-events="none">
      <path class="lit-main" d={`M${from} ${base}H${to}`} />
      {held !== null && (
        <rect
          class="lit-memory"
          x={round(left)}
          y={round(bottom - tall)}
          width={round(right - left)}
          height={round(tall)}
        />
      )}
      <path
        class="skip"
        fill="none"
        d={pathOf(placed, base - 6)}
        stroke-width={round(stroke + 2)}
        {...lookOf(placed)}
      />
      <path class="lit-end" d={circle(from, base, 5) + circle(to, base, 5)} />
      <text class="lit-id" x={round((x1 + x2) / 2)} y={round(base - 13 - placed.height)}>
        {`${skip.id} ${skip.kind} ${bytesOf(skip)}`}
      </text>
    </g>
  );
}

/** The moment in which a node runs, and the skips for which memory is held then. */
function Moment({
  picture,
  layout,
  base,
  bottom,
  place,
}: PartProps & { bottom: number; place: number }) {
  const [left, right] = [layout.edges[place + 1] ?? 0, layout.edges[place + 2] ?? 0];
  const holding = layout.skips.filter(
    ({ skip }) => skip.alone !== null && skip.alone[0] <= place && place <= skip.alone[1],
  );
  const x = round((left + right) / 2);
  const end = x > layout.width / 2;
  return (
    <g class="lit" pointer-events="none">
      <rect
        class="moment"
        x={round(left)}
        y={base - 9}
        width={round(Math.max(1, right - left))}
        height={bottom - base + 9}
      />
      {holding.map((placed) => (
        <path
          key={placed.skip.id}
          class="skip"
          fill="none"
          d={pathOf(placed, base - 6)}
          stroke-width={round(placed.stroke + 1.5)}
          {...lookOf(placed)}
        />
      ))}
      <text class="lit-id" x={x} y={base + BELOW + 4} text-anchor={end ? "end" : "start"}>
        {`${picture.nodes[place]?.name ?? ""}: ${bytes(picture.memory.bytes[place] ?? 0)}`}
      </text>
    </g>
  );
}
