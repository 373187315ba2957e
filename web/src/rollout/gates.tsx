// What each gate of the judge knows, as one row: evidence against its limit, counts, ratio against what is allowed.

import type { RolloutStatus } from "../../../src/rollout/document.ts";
import { type GateView, gatesOf, type RatioView, thresholdText } from "./view.ts";

/** All gates. */
export function Gates({ rollout }: { rollout: RolloutStatus }) {
  const { from, to } = rollout;
  return (
    <div class="wide">
      <table class="gates">
        <caption class="hidden">Gates of the judge</caption>
        <thead>
          <tr>
            <th scope="col">gate</th>
            <th scope="col">evidence of harm, of its limit</th>
            <th scope="col" class="number">
              version {from}
            </th>
            <th scope="col" class="number">
              version {to}
            </th>
            <th scope="col">ratio, and what is allowed</th>
          </tr>
        </thead>
        <tbody>
          {gatesOf(rollout).map((view) => (
            <Gate key={view.gate} view={view} />
          ))}
        </tbody>
      </table>
      <p class="note">
        Evidence is an e-value on the scale of its logarithm: at the limit the candidate is taken
        back. The bar of the ratio is its interval, dashed what it must stay under to pass. Slow is
        over {thresholdText(rollout)}.
      </p>
    </div>
  );
}

function Gate({ view }: { view: GateView }) {
  const { name, word, way, evidence, stable, candidate, ratio, stratum, lacks } = view;
  return (
    <tr>
      <th scope="row">
        <b>{name}</b>
        <span class={`state ${word.tone}`}>
          <span aria-hidden="true">{word.sign}</span> {word.text}
        </span>
        {lacks !== "" && <small class="line">{lacks}</small>}
      </th>
      <td>
        <meter class="hidden" aria-label={`Evidence of gate ${name}`} min={0} max={1} value={way}>
          {Math.round(100 * way)} %
        </meter>
        <span class={`gauge ${word.tone}`} aria-hidden="true">
          <span class="fill" style={{ width: `${100 * way}%` }} />
        </span>
        <small class="line">
          {evidence}, {Math.round(100 * way)} %
        </small>
        {stratum !== undefined && (
          <small class="line">
            worst in <bdi>{stratum}</bdi>
          </small>
        )}
      </td>
      <td class="number" data-name="stable">
        {stable}
      </td>
      <td class="number" data-name="candidate">
        {candidate}
      </td>
      <td>
        <Ratio ratio={ratio} />
      </td>
    </tr>
  );
}

function Ratio({ ratio }: { ratio: RatioView }) {
  const at = (place: number): string => `${(100 * place).toFixed(1)}%`;
  const { from = 0, to = 1 } = { from: ratio.from ?? 0, to: ratio.to ?? 1 };
  return (
    <>
      <span class={`ratio ${ratio.over ? "over" : ""}`} aria-hidden="true">
        <span class="interval" style={{ left: at(from), right: at(1 - to) }} />
        <span class="one" style={{ left: at(ratio.one) }} />
        <span class="allowed" style={{ left: at(ratio.allowed) }} />
        {ratio.at !== null && <span class="value" style={{ left: at(ratio.at) }} />}
      </span>
      <small class="line">
        {ratio.text}, {ratio.over ? "not under" : "under"} ×{ratio.allowedText}
      </small>
    </>
  );
}
