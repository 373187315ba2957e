// What a run takes as ONNX Runtime plans it, for any shapes of the inputs: fast where shapes come again, and
// between numbers of rows that are known.

import { fusedForRuntime } from "../../analysis/memory/fused.ts";
import { lifetimesOf } from "../../analysis/memory/liveness.ts";
import { runtimeMemory } from "../../analysis/memory/runtime.ts";
import { canonicalize } from "../../canonical/canonical.ts";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import { type Graph, subgraphs, type Value } from "../../graph/graph.ts";
import { typeOf } from "../../graph/query.ts";
import { UNKNOWN_DIM } from "../../graph/shape.ts";
import { valueBytes } from "../../ops/rules.ts";
import { type InputShapes, rowsOf, withRows } from "./batch-axis.ts";
import { between, KNOTS, keyOf, type PlannedRun, type Plans } from "./knots.ts";

/** Shapes that are remembered; a client can send as many as it likes. */
const BUCKETS_MAX = 512;

/** Plans the runs of one model when it is asked, on the thread that asks. */
export class RunPlanner implements Plans {
  /** Whether axis 0 of all inputs is the batch: then rows between two powers of two are not planned anew. */
  readonly batched: boolean;
  readonly #graph: Graph;
  /** By shapes without rows; the one used last at the end. In each, what is planned by rows. */
  readonly #buckets = new Map<string, Map<number, PlannedRun | undefined>>();

  constructor(graph: Graph, batched: boolean) {
    this.#graph = fusedForRuntime(inferShapes(canonicalize(graph, { idioms: false })));
    this.batched = batched;
  }

  /**
   * What a run with these inputs takes; undefined where a size inside the model cannot be told. Between two of
   * `KNOTS` it lies on the line between them, and never below the plan: the peak is the largest of sums that grow
   * evenly with the rows.
   */
  plan(shapes: InputShapes): PlannedRun | undefined {
    const bucket = this.#bucketOf(shapes);
    if (!this.batched) return this.#planned(bucket, shapes, 1);
    return between(rowsOf(shapes), (knot) => this.#planned(bucket, withRows(shapes, knot), knot));
  }

  prepare(): undefined {
    return undefined;
  }

  /** The runs of these shapes with as many rows as `KNOTS` has, or the one run where rows are no matter. */
  knots(shapes: InputShapes): readonly (PlannedRun | undefined)[] {
    if (!this.batched) return [this.plan(shapes)];
    return KNOTS.map((rows) => this.plan(withRows(shapes, rows)));
  }

  #bucketOf(shapes: InputShapes): Map<number, PlannedRun | undefined> {
    const key = keyOf(shapes, this.batched);
    const known = this.#buckets.get(key) ?? new Map<number, PlannedRun | undefined>();
    this.#buckets.delete(key);
    this.#buckets.set(key, known);
    const [oldest] = this.#buckets.keys();
    if (this.#buckets.size > BUCKETS_MAX && oldest !== undefined) this.#buckets.delete(oldest);
    return known;
  }

  #planned(
    bucket: Map<number, PlannedRun | undefined>,
    shapes: InputShapes,
    rows: number,
  ): PlannedRun | undefined {
    if (bucket.has(rows)) return bucket.get(rows);
    const found = planOf(this.#graph, shapes);
    bucket.set(rows, found);
    return found;
  }
}

function planOf(graph: Graph, shapes: InputShapes): PlannedRun | undefined {
  const sizes = new Map<string, number>();
  const inputs = graph.inputs.map((value): Value => {
    const shape = shapes.get(value.name);
    if (shape === undefined) return value;
    value.shape?.forEach((dim, axis) => {
      const size = shape[axis];
      const named = typeof dim === "string" && dim !== UNKNOWN_DIM;
      if (named && size !== undefined) sizes.set(dim, size);
    });
    return { ...value, shape };
  });
  // In its form already: its nodes, and so their order, are the same for all shapes.
  const bound = inferShapes({ ...graph, inputs }, sizes);
  if (hasUnknown(bound)) return undefined;
  const ends = [...bound.inputs, ...bound.outputs].filter(
    ({ name }) => !bound.initializers.has(name),
  );
  return {
    peakBytes: runtimeMemory(bound, { pattern: true }).peakBytes,
    endsBytes: ends.reduce((sum, { name }) => sum + (valueBytes(typeOf(bound, name)) ?? 0), 0),
  };
}

/** Whether there is a value whose size is not known: it would count as nothing. */
function hasUnknown(graph: Graph): boolean {
  if (graph.nodes.some((node) => subgraphs(node).length > 0)) return lifetimesOf(graph).unknown > 0;
  return graph.nodes.some(({ outputs }) =>
    outputs.some((name) => name !== "" && valueBytes(typeOf(graph, name)) === undefined),
  );
}
