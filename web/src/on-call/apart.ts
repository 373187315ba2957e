// Places for names beside a chart: as near as may be to where each belongs, none over another.

/** Heights for names that belong at these, in the same order, at least `step` apart and none below `bottom`. */
export function apart(wanted: readonly number[], step: number, bottom: number): number[] {
  const order = wanted.map((_, i) => i).sort((a, b) => (wanted[a] ?? 0) - (wanted[b] ?? 0));
  const places = [...wanted];
  let least = Number.NEGATIVE_INFINITY;
  for (const i of order) {
    places[i] = Math.max(places[i] ?? 0, least);
    least = (places[i] ?? 0) + step;
  }
  let most = bottom;
  for (const i of order.toReversed()) {
    places[i] = Math.min(places[i] ?? 0, most);
    most = (places[i] ?? 0) - step;
  }
  return places;
}
