// E-values of counted events: one formula for all gates. An event belongs to the candidate with some chance; if
// that chance is at most what the null hypothesis says, the product of the bets below does not grow on average
// (Ville 1939; Ramdas, Grünwald, Vovk and Shafer 2023), so whoever rolls back at 1/alpha errs with chance alpha
// however often he looks.

/** A way in which the candidate may differ: odds multiplied by so much, believed with a weight. */
export interface Alternative {
  readonly multiple: number;
  readonly logWeight: number;
}

function alternatives(
  pairs: readonly (readonly [multiple: number, weight: number])[],
): readonly Alternative[] {
  const total = pairs.reduce((sum, [, weight]) => sum + weight, 0);
  return pairs.map(([multiple, weight]) => ({ multiple, logWeight: Math.log(weight / total) }));
}

/** A candidate that is worse, from somewhat to wholly. The weights were chosen by `npm run bench -- judge`. */
export const WORSE: readonly Alternative[] = alternatives([
  [1.5, 0.08],
  [2, 0.1],
  [3, 0.17],
  [5, 0.25],
  [10, 0.2],
  [30, 0.12],
  [300, 0.08],
]);

/** A candidate that is better than what is to be ruled out. */
export const BETTER: readonly Alternative[] = alternatives([
  [0.75, 0.15],
  [0.5, 0.45],
  [0.33, 0.2],
  [0.1, 0.1],
  [0.01, 0.1],
]);

/** An assignment that is off, either way. */
export const OFF: readonly Alternative[] = alternatives(
  [1.02, 1.05, 1.1, 1.25, 1.5, 2, 4, 20].flatMap((multiple) => [
    [multiple, 1] as const,
    [1 / multiple, 1] as const,
  ]),
);

/** So many events of the candidate and of stable at one share. */
export interface Tally {
  readonly share: number;
  readonly candidate: number;
  readonly stable: number;
}

/** Logarithm of a sum of exponentials, without overflow. */
export function logSum(terms: readonly number[]): number {
  const largest = Math.max(...terms);
  if (!Number.isFinite(largest)) return largest;
  let sum = 0;
  for (const term of terms) sum += Math.exp(term - largest);
  return largest + Math.log(sum);
}

/** Change of a logarithm by one event: of the candidate, and of stable. */
function bets(share: number, ratio: number, multiple: number): readonly [number, number] {
  const odds = (share / (1 - share)) * ratio;
  const stable = Math.log1p(odds) - Math.log1p(odds * multiple);
  return [Math.log(multiple) + stable, stable];
}

/** The logarithm that each alternative has come to, with its weight. */
export function logTerms(
  tallies: readonly Tally[],
  against: readonly Alternative[],
  ratio = 1,
): number[] {
  return against.map(({ multiple, logWeight }) => {
    let sum = logWeight;
    for (const { share, candidate, stable } of tallies) {
      if (candidate + stable === 0) continue;
      const [byCandidate, byStable] = bets(share, ratio, multiple);
      sum += candidate * byCandidate + stable * byStable;
    }
    return sum;
  });
}

/** What an event at a share adds on average to each alternative, if it is the candidate's with chance `chance`. */
export function logGains(
  share: number,
  chance: number,
  against: readonly Alternative[],
  ratio = 1,
): number[] {
  return against.map(({ multiple }) => {
    const [byCandidate, byStable] = bets(share, ratio, multiple);
    return chance * byCandidate + (1 - chance) * byStable;
  });
}

/**
 * Natural logarithm of the e-value against "the candidate's rate is at most (or, with alternatives below 1, at
 * least) `ratio` times stable's". The product stands inside, the average over alternatives outside.
 */
export function logEvidence(
  tallies: readonly Tally[],
  against: readonly Alternative[],
  ratio = 1,
): number {
  return logSum(logTerms(tallies, against, ratio));
}

/** Average of e-values with weights that sum to 1: an e-value however they depend on one another. */
export function logAverage(parts: readonly (readonly [weight: number, logE: number])[]): number {
  return logSum(parts.map(([weight, logE]) => Math.log(weight) + logE));
}

/**
 * The ratio at which a monotone function of its logarithm crosses zero, between 1/4096 and 4096; null where it does
 * not cross. `rising`: negative below and positive above.
 */
export function crossing(of: (ratio: number) => number, rising: boolean): number | null {
  let low = Math.log(1 / 4096);
  let high = -low;
  const sign = rising ? 1 : -1;
  if (sign * of(Math.exp(low)) >= 0 || sign * of(Math.exp(high)) < 0) return null;
  for (let step = 0; step < 40; step++) {
    const middle = (low + high) / 2;
    if (sign * of(Math.exp(middle)) >= 0) high = middle;
    else low = middle;
  }
  return Math.exp(high);
}
