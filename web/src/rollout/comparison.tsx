// The two versions of a rollout side by side, as a table.

import type { ServingStatus } from "../../../src/dashboard/api.ts";
import type { RolloutStatus } from "../../../src/rollout/document.ts";
import { compare, type Value } from "./compare.ts";

/** The table. */
export function Comparison(props: { rollout: RolloutStatus; status: ServingStatus }) {
  const { rollout, status } = props;
  return (
    <div class="wide">
      <table class="comparison">
        <caption class="hidden">
          Version {rollout.from} and version {rollout.to} side by side
        </caption>
        <thead>
          <tr>
            <th scope="col">side by side</th>
            <th scope="col" class="number">
              version {rollout.from}, stable
            </th>
            <th scope="col" class="number">
              version {rollout.to}, candidate
            </th>
          </tr>
        </thead>
        <tbody>
          {compare(rollout, status).map(({ name, over, stable, candidate }) => (
            <tr key={name}>
              <th scope="row">
                <bdi>{name}</bdi> <small>{over}</small>
              </th>
              <Cell value={stable} />
              <Cell value={candidate} />
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Cell({ value }: { value: Value }) {
  return (
    <td class="number">
      {value.text}
      {value.note !== "" && <small> {value.note}</small>}
      {value.line !== undefined && <small class="line"> {value.line}</small>}
    </td>
  );
}
