// Readers of option values. What cannot be read is wrong usage, said in one sentence.

import { InvalidArgumentError } from "commander";

/** Reads a whole number between two bounds. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && Number.isInteger(value) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`it is a whole number from ${min} to ${max}`);
  };
}

/** Reads ids of findings, with commas between them. */
export function listOfIds(text: string): readonly string[] {
  const ids = text.split(",").map((id) => id.trim());
  const wrong = ids.find((id) => !/^[\w-]+\/[\w-]+$/.test(id));
  if (wrong === undefined) return ids;
  throw new InvalidArgumentError(`"${wrong}" is no id of a finding, as area/what`);
}

const UNITS_MS: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
/** A century: longer is `never`. */
const DURATION_MS_MAX = 36_525 * 86_400_000;

/** Reads a time as `90d`, `12h`, `30m`, `10s`, in milliseconds; undefined for `never`. */
export function duration(text: string): number | undefined {
  if (text === "never") return undefined;
  const [, count, unit] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  const ms = Number(count) * (UNITS_MS[unit ?? ""] ?? Number.NaN);
  if (ms > 0 && ms <= DURATION_MS_MAX) return ms;
  throw new InvalidArgumentError("it is a time as in 90d, 12h, 30m or 10s, or never");
}
