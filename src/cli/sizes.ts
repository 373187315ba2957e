// --batch and --size: the sizes for which a model is looked at.

import { type Command, InvalidArgumentError } from "commander";
import { batchSymbol, type SizeOptions, symbolsOf } from "../analysis/memory.ts";
import { SkipwayError } from "../base/errors.ts";
import { printable } from "../base/printable.ts";
import type { Graph } from "../graph/graph.ts";
import type { CommonOptions, Io } from "./io.ts";
import { wholeNumber } from "./options.ts";

/** What a command has of these options. */
export interface SizeArguments {
  readonly batch?: number;
  readonly size?: ReadonlyMap<string, number>;
}

/** What is beyond these is a slip of the fingers. A length may be 0: that of a cache that is still empty. */
const readBatch = wholeNumber(1, 1_000_000);
const readLength = wholeNumber(0, 1_000_000_000);
/** As many names are told of a model that has more. */
const NAMES_MAX = 12;

/** Adds both options to a command. */
export function addSizes(command: Command, what: string): Command {
  return command
    .option("--batch <number>", `batch size ${what} (default: 1)`, readBatch)
    .option("--size <name=number>", "size of another symbolic dimension; may come again", readSize);
}

function readSize(
  text: string,
  before: ReadonlyMap<string, number> = new Map(),
): Map<string, number> {
  // A name may have the sign in it, a number not.
  const at = text.lastIndexOf("=");
  const name = text.slice(0, at).trim();
  if (at < 0 || name === "") throw new InvalidArgumentError("it is a name and a number, as S=128");
  if (before.has(name)) throw new InvalidArgumentError(`"${name}" has a size already`);
  return new Map([...before, [name, readLength(text.slice(at + 1))]]);
}

/**
 * The sizes for models that are looked at together. Says that another batch size than the file's was asked for
 * in vain.
 *
 * @throws SkipwayError `usage` for a name that no model has, or a batch that has two sizes.
 */
export function sizesOf(
  io: Io,
  graphs: readonly Graph[],
  { batch, size = new Map(), quiet }: CommonOptions & SizeArguments,
): SizeOptions {
  const names = new Set(graphs.flatMap((graph) => [...symbolsOf(graph)]));
  const batches = graphs.flatMap((graph) => batchSymbol(graph) ?? []);
  for (const [name, number] of size) {
    if (!names.has(name)) throw new SkipwayError("usage", unknownName(name, [...names]));
    if (number === 0 && batches.includes(name)) {
      throw new SkipwayError(
        "usage",
        `--size: "${printable(name)}" is the batch: it is at least 1`,
      );
    }
    if (batch !== undefined && batches.includes(name)) {
      throw new SkipwayError("usage", `"${printable(name)}" is the batch: give --batch or --size`);
    }
  }
  if (batch !== undefined && batch !== 1 && quiet !== true && batches.length === 0) {
    io.err("the batch size is written into the model: --batch changes nothing\n");
  }
  return { ...(batch === undefined ? {} : { batch }), sizes: Object.fromEntries(size) };
}

function unknownName(name: string, names: readonly string[]): string {
  const known = names.slice(0, NAMES_MAX).map((one) => printable(one));
  const more = names.length > known.length ? ` and ${names.length - known.length} more` : "";
  const there =
    names.length === 0 ? "all its sizes are numbers" : `it has ${known.join(", ")}${more}`;
  return `--size: the model has no dimension "${printable(name)}"; ${there}`;
}
