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
