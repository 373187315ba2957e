// When evidence reaches its limit, computed and not simulated: the events of a release are a walk whose limit depends
// on two counts alone, so the chance of every path is added up step by step.

import { type Alternative, logEvidence } from "./judge/evidence.ts";

/** A walk: events that come one by one, each the candidate's with a chance. */
export interface Walk {
  /** Share at which the events are weighed. */
  readonly share: number;
  readonly against: readonly Alternative[];
  /** Ratio that the evidence is against. */
  readonly ratio: number;
  /** Chance that an event is the candidate's. */
  readonly chance: number;
  /** Natural logarithm of the e-value at which the walk ends. */
  readonly limit: number;
}

/** Chance that a walk ends with its jth event, of which i were the candidate's. */
export interface Ending {
  readonly events: number;
  readonly candidate: number;
  readonly chance: number;
}

/** Longer walks are not followed. */
const EVENTS_MAX = 20_000;
/** What is left then, or is neglected on the way. */
const REST = 1e-4;
const NEGLIGIBLE = 1e-12;

/** How a walk ends; what is missing to 1 had not ended after 20,000 events. */
export function endings(walk: Walk, eventsMax: number = EVENTS_MAX): Ending[] {
  const { share, against, ratio, chance, limit } = walk;
  const upward = (against[0]?.multiple ?? 2) > 1;
  const ends = (events: number, candidate: number): boolean =>
    logEvidence([{ share, candidate, stable: events - candidate }], against, ratio) >= limit;
  const found: Ending[] = [];
  let chances = new Float64Array([1]);
  /** Number of the candidate's events of the first entry. */
  let first = 0;
  let left = 1;
  // Upward: the walk ends with at least so many of the candidate. Downward: with less than so many.
  let edge = 0;
  for (let events = 1; events <= eventsMax && left > REST; events++) {
    chances = step(chances, chance);
    if (upward) while (edge <= events && !ends(events, edge)) edge++;
    else while (edge <= events && ends(events, edge)) edge++;
    let mass = 0;
    let sum = 0;
    for (let k = 0; k < chances.length; k++) {
      const own = chances[k] ?? 0;
      const candidate = first + k;
      if (own < NEGLIGIBLE) chances[k] = 0;
      if (upward ? candidate >= edge : candidate < edge) {
        mass += own;
        sum += own * candidate;
        chances[k] = 0;
      }
    }
    if (mass > 0) {
      found.push({ events, candidate: sum / mass, chance: mass });
      left -= mass;
    }
    const from = chances.findIndex((own) => own > 0);
    const to = chances.findLastIndex((own) => own > 0);
    if (from < 0) break;
    chances = chances.slice(from, to + 1);
    first += from;
  }
  return found;
}

function step(chances: Float64Array, chance: number): Float64Array<ArrayBuffer> {
  const next = new Float64Array(chances.length + 1);
  for (let k = 0; k < chances.length; k++) {
    const own = chances[k] ?? 0;
    next[k] = (next[k] ?? 0) + own * (1 - chance);
    next[k + 1] = own * chance;
  }
  return next;
}

/** Rates of events, for requests of the candidate and of stable. */
export interface Rates {
  readonly share: number;
  readonly candidate: number;
  readonly stable: number;
}

/**
 * Candidate requests within which a walk of requests has ended with a chance; infinite where it does not end so often.
 * How many good ones lie between the events does not depend on whose the events are (thinning of a Bernoulli process).
 */
export function requestsWithin(chance: number, ended: readonly Ending[], rates: Rates): number {
  const { share, candidate, stable } = rates;
  const event = share * candidate + (1 - share) * stable;
  const good = share * (1 - candidate);
  const among = event / (event + good);
  const reached = (requests: number): number => {
    let sum = 0;
    for (const one of ended) {
      const goods = requests - one.candidate;
      // That at most so many good ones come before so many events: negative binomial.
      if (goods >= 0) sum += one.chance * incompleteBeta(among, one.events, Math.floor(goods) + 1);
    }
    return sum;
  };
  // However many come, no more walks end than end at all.
  if (ended.reduce((sum, one) => sum + one.chance, 0) < chance) return Number.POSITIVE_INFINITY;
  let low = 0;
  let high = 1;
  while (reached(high) < chance) {
    low = high;
    high *= 2;
    if (high > 1e9) return Number.POSITIVE_INFINITY;
  }
  while (high - low > Math.max(0.5, high / 2000)) {
    const middle = (low + high) / 2;
    if (reached(middle) < chance) low = middle;
    else high = middle;
  }
  return Math.ceil(high);
}

/** Events within which a walk has ended with a chance. */
export function eventsWithin(chance: number, ended: readonly Ending[]): number {
  let sum = 0;
  for (const one of ended) {
    sum += one.chance;
    if (sum >= chance) return one.events;
  }
  return Number.POSITIVE_INFINITY;
}

/** The regularised incomplete beta function, by its continued fraction (DLMF 8.17.22). */
export function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  // The fraction converges fast below the mean; above, the other tail is taken.
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a);
  const front = Math.exp(
    logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x),
  );
  let c = 1;
  let d = 1 / (1 - ((a + b) * x) / (a + 1));
  let fraction = d;
  for (let m = 1; m <= 10_000; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / (1 + even * d);
    c = 1 + even / c;
    fraction *= d * c;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / (1 + odd * d);
    c = 1 + odd / c;
    fraction *= d * c;
    if (Math.abs(d * c - 1) < 1e-13) break;
  }
  return (front * fraction) / a;
}

/** Stirling's series, shifted to where it is exact to the last digits. */
function logGamma(x: number): number {
  let shifted = x;
  let product = 1;
  while (shifted < 15) product *= shifted++;
  const inverse = 1 / shifted;
  const square = inverse * inverse;
  const series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)));
  return (
    (shifted - 0.5) * Math.log(shifted) -
    shifted +
    0.5 * Math.log(2 * Math.PI) +
    series -
    Math.log(product)
  );
}
