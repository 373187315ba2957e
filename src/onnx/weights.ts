// Whether a model carries the values of its weights. Skeleton exports declare dims without bytes.

import type { ValueName } from "../graph/graph.ts";
import type { Model } from "./model.ts";
import { sparseTo } from "./tensors.ts";

/** The weights whose values are not in the file; sparse ones are there in another form. */
export function absentWeights(model: Model): ValueName[] {
  return [...model.graph.initializers]
    .filter(([name, ref]) => {
      const absent = ref.data.kind === "absent" && !ref.shape.includes(0);
      return absent && sparseTo(ref, name) === undefined;
    })
    .map(([name]) => name);
}
