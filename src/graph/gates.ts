// The gates of a network, as its file names them: outputs that say for each example whether a block is run.

import type { Graph } from "./graph.ts";

/** Key of the file's metadata: a JSON object of the gates' outputs, each with the mean from which its block is run. */
const GATES_KEY = "skipway.gates";
/** More gates, or longer texts, than networks have: a file may come from anywhere. */
const GATES_MAX = 256;
const TEXT_MAX = 65_536;

/** What a file says of gates that lie open above these means; nothing where there are none. */
export function gatesMetadata(gates: ReadonlyMap<string, number>): ReadonlyMap<string, string> {
  return new Map(gates.size === 0 ? [] : [[GATES_KEY, JSON.stringify(Object.fromEntries(gates))]]);
}

/** The gates of a graph: outputs of float32, and the mean of a batch above which the block behind each is run. */
export function gatesOf({ metadata, outputs }: Graph): ReadonlyMap<string, number> {
  const text = metadata.get(GATES_KEY) ?? "";
  if (text === "" || text.length > TEXT_MAX) return new Map();
  const named = entriesOf(text);
  const floats = new Set(outputs.flatMap(({ name, dtype }) => (dtype === "float32" ? [name] : [])));
  const gates = named.filter((one): one is [string, number] => {
    const [name, level] = one;
    return floats.has(name) && typeof level === "number";
  });
  return new Map(gates.slice(0, GATES_MAX));
}

function entriesOf(text: string): [string, unknown][] {
  try {
    const parsed: unknown = JSON.parse(text);
    const isObject = typeof parsed === "object" && parsed !== null && !Array.isArray(parsed);
    return isObject ? Object.entries(parsed) : [];
  } catch {
    // What is no JSON names no gates.
    return [];
  }
}
