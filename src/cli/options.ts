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
