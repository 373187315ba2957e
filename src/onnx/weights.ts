// Whether a model carries the values of its weights. Skeleton exports declare dims without bytes.

import type { ValueName } from "../graph/graph.ts";
import { concatenated } from "./chunks.ts";
import { type Model, origins } from "./model.ts";
import { tensorHeader } from "./tensors.ts";

/** The weights whose values are not in the file; sparse ones are there in another form. */
export function absentWeights(model: Model): ValueName[] {
  const sparse = origins.get(model)?.graph?.sparseInitializer ?? [];
  const elsewhere = new Set(sparse.map((one) => tensorHeader(concatenated(one.values))?.name));
  return [...model.graph.initializers]
    .filter(([name, { data, shape }]) => {
      return data.kind === "absent" && !shape.includes(0) && !elsewhere.has(name);
    })
    .map(([name]) => name);
}
