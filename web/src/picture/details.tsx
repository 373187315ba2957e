// What is told of a skip or of a moment, in words.

import type { Picture, PictureSkip } from "../../../src/analysis/picture/picture.ts";
import { bytesOf } from "../../../src/analysis/picture/words.ts";
import { bytes, percent } from "../format.ts";
import { aliveAt, type Focus } from "./state.ts";

/** So many values are listed; the rest is added up. */
const ALIVE_MAX = 10;

interface DetailsProps {
  readonly picture: Picture;
  readonly focus: Focus | undefined;
  readonly onChoose: (focus: Focus) => void;
}

/** The panel below the picture. */
export function Details({ picture, focus, onChoose }: DetailsProps) {
  const skip = focus?.kind === "skip" ? picture.skips[focus.skip] : undefined;
  return (
    <section class="details" aria-live="polite" aria-label="Details">
      {skip !== undefined && <SkipDetails picture={picture} skip={skip} />}
      {focus?.kind === "moment" && (
        <MomentDetails picture={picture} place={focus.place} onChoose={onChoose} />
      )}
      {focus === undefined && (
        <p class="note">
          Point at an arc to see what it carries, or at the band to see who is alive because of
          whom.
        </p>
      )}
    </section>
  );
}

function SkipDetails({ picture, skip }: { picture: Picture; skip: PictureSkip }) {
  const { nodes } = picture;
  const held = skip.alone;
  const traits = [
    skip.block,
    skip.activation === "none" ? "" : `${skip.activation}-activation`,
    skip.norm === "none" ? "" : `norm ${skip.norm}`,
    skip.encoderDecoder ? "from encoder to decoder" : "",
  ].filter((trait) => trait !== "");
  return (
    <>
      <h3>
        {skip.id} <span>{skip.kind}</span> <small>{traits.join(" · ")}</small>
      </h3>
      <dl>
        <Row name="from">{skip.source}</Row>
        <Row name="to">{skip.merge}</Row>
        <Row name="carries">{bytesOf(skip)}</Row>
        <Row name="main path">
          {skip.main.length} nodes, {skip.span} transforms: {shortList(skip.main)}
        </Row>
        {skip.shortcut.length > 0 && <Row name="shortcut">{shortList(skip.shortcut)}</Row>}
        <Row name="memory for it alone">
          {held === null ? (
            "none: its source is read elsewhere until then"
          ) : (
            <>
              {bytesOf(skip)} while {held[1] - held[0] + 1} nodes run, from{" "}
              <bdi>{nodes[held[0]]?.name}</bdi> to <bdi>{nodes[held[1]]?.name}</bdi>
            </>
          )}
        </Row>
        {skip.atPeak && <Row name="◆ at the peak">it stands at the memory peak</Row>}
        {skip.hazards.map((hazard) => (
          <Row key={hazard.id + hazard.text} name={`⚠ ${hazard.id}`}>
            {hazard.text}
          </Row>
        ))}
      </dl>
    </>
  );
}

function MomentDetails({
  picture,
  place,
  onChoose,
}: {
  picture: Picture;
  place: number;
  onChoose: (focus: Focus) => void;
}) {
  const { nodes, memory, skips } = picture;
  const alive = aliveAt(picture, place);
  const total = memory.bytes[place] ?? 0;
  const held = memory.skipBytes[place] ?? 0;
  const rest = alive.slice(ALIVE_MAX);
  const peak = place === memory.peakAt ? " · the peak" : "";
  return (
    <>
      <h3>
        <bdi>{nodes[place]?.name}</bdi> <span>{nodes[place]?.op}</span>{" "}
        <small>
          {bytes(total)} alive{held > 0 && `, ${bytes(held)} for skips alone`}
          {total > 0 && ` · ${percent(total / Math.max(1, memory.peakBytes))} of the peak`}
          {peak}
        </small>
      </h3>
      <table>
        <thead>
          <tr>
            <th scope="col">alive</th>
            <th scope="col">size</th>
            <th scope="col">because of</th>
          </tr>
        </thead>
        <tbody>
          {alive.slice(0, ALIVE_MAX).map((one) => (
            <tr key={one.value}>
              <td>{one.value}</td>
              <td>{bytes(one.bytes)}</td>
              <td>
                {one.skips.length === 0
                  ? `read until ${nodes[one.until]?.name ?? ""}`
                  : one.skips.map((skip) => (
                      <button
                        key={skip.id}
                        type="button"
                        onClick={() => onChoose({ kind: "skip", skip: skips.indexOf(skip) })}
                      >
                        {`${skip.id} alone, until ${skip.merge}`}
                      </button>
                    ))}
              </td>
            </tr>
          ))}
          {rest.length > 0 && (
            <tr>
              <td>{rest.length} more</td>
              <td>{bytes(rest.reduce((sum, one) => sum + one.bytes, 0))}</td>
              <td />
            </tr>
          )}
        </tbody>
      </table>
    </>
  );
}

function Row({ name, children }: { name: string; children: preact.ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function shortList(names: readonly string[]): string {
  const shown = names.slice(0, 6).join(", ");
  return names.length > 6 ? `${shown}, … ${names.length - 6} more` : shown;
}
