// One row of the census, and the census. The fields are public: they stand in the JSON document.

import type { Diagnostic } from "../../base/diagnostic.ts";
import type { Graph, ValueName, ValueType } from "../../graph/graph.ts";
import type { Shape } from "../../graph/shape.ts";
import type { Sizes } from "../memory.ts";

/** What the shortcut of a skip is made of. */
export type SkipKind =
  | "identity"
  | "pooled"
  | "padded"
  | "resampled"
  | "projection"
  | "concat"
  | "gated"
  | "conditional"
  | "recurrent"
  | "multi-stream";

/** What kind of block the skip closes. */
export type BlockKind =
  | "additive"
  | "dense"
  | "highway"
  | "unet"
  | "attention"
  | "mlp"
  | "parallel"
  | "partial"
  | "concat"
  | "conditional"
  | "recurrent";

/** One linear layer on a shortcut. */
export interface ProjectionLayer {
  /** Conv, MatMul, …; the standard op for its twins in integers. */
  readonly op: string;
  /** Of a convolution, along each axis of the picture; empty for products with a matrix. */
  readonly kernel: readonly number[];
  readonly stride: readonly number[];
  /** Of a grouped convolution. */
  readonly group?: number;
}

/** A factor that carries no activation, such as those of LayerScale, ReZero and DeepNorm. */
export interface Gamma {
  readonly on: "shortcut" | "branch";
  /** As it is multiplied; `[]` is a single number. */
  readonly shape: Shape | undefined;
}

/** Of a skip in the body of a loop: how it repeats. */
export interface Recurrence {
  /** Name of the Loop or Scan. */
  readonly loop: string;
  /** How many rounds the loop makes; undefined where the file does not say it. */
  readonly trips: number | undefined;
  /** What the shortcut starts from: what the rounds hand on, a value from outside, or one of the same round. */
  readonly from: "state" | "outside" | "round";
  /** Whether a gate weighs the shortcut or the sum, as in the cells of an LSTM and a GRU. */
  readonly gated: boolean;
}

/** One skip connection: operand `operand` of `merge` is reached from `source` by a shortcut. */
export interface Skip {
  /** Position in the census, `s1`, `s2`, …: stable for one file. */
  readonly id: string;
  readonly kind: SkipKind;
  readonly encoderDecoder: boolean;
  readonly source: ValueName;
  /** Name of the node that joins shortcut and main path. */
  readonly merge: string;
  readonly operand: number;
  /** Most transforms on the main path. */
  readonly span: number;
  /** Nodes from source to merge in file order. */
  readonly distance: number;
  /** Size of the source, for the batch of the census; undefined where a dim is unknown. */
  readonly bytes: number | undefined;
  readonly block: BlockKind;
  readonly activation: "pre" | "post" | "none";
  readonly norm: "pre" | "post" | "sandwich" | "none";
  /** +1, or -1 where the shortcut is subtracted. */
  readonly sign: 1 | -1;
  /** Whether shortcut or branch is multiplied by a factor. */
  readonly scaled: boolean;
  /** The factors; empty where it is not scaled. */
  readonly gamma: readonly Gamma[];
  /** The linear layers of the shortcut, in order; empty where it has none. */
  readonly projection: readonly ProjectionLayer[];
  /** Undefined for a skip that lies in no loop. */
  readonly recurrence: Recurrence | undefined;
  /** The stretch in which the source lives for this skip alone; undefined if there is none. */
  readonly aliveOnlyForSkip: { readonly from: string; readonly until: string } | undefined;
  /** Whether the source stands at the memory peak for this skip alone, or what its shortcut makes. */
  readonly atPeak: boolean;
  /** Whether the last op that reads the source on the main path could write over it, were it not for the skip. */
  readonly inPlaceBlocked: boolean;
  /** The same for all skips whose main paths have the same weights (ALBERT); undefined where they are a skip's own. */
  readonly weightGroup: string | undefined;
  readonly hazards: readonly Diagnostic[];
  /** Names of the nodes of shortcut, main path and merge. */
  readonly nodes: {
    readonly shortcut: readonly string[];
    readonly main: readonly string[];
    readonly merge: string;
  };
}

/** How many skips of which kind. Each counts once in `total`; `encoderDecoder` counts some again. */
export interface SkipCounts {
  readonly total: number;
  /** Identity, pooled, padded, resampled and scaled shortcuts into a sum. */
  readonly additiveIdentity: number;
  readonly additiveProjection: number;
  readonly concat: number;
  readonly gated: number;
  readonly encoderDecoder: number;
  readonly conditional: number;
  readonly recurrent: number;
  readonly multiStream: number;
}

/** Every skip of a graph. */
export interface Census extends Sizes {
  readonly skips: readonly Skip[];
  readonly counts: SkipCounts;
  /** Direct links from layer to layer that the concatenations of dense blocks make. */
  readonly denseLinks: number;
  /** Merges that look like skips and are none. */
  readonly notSkips: readonly { readonly node: string; readonly reason: string }[];
  readonly hazards: readonly Diagnostic[];
}

/** A skip as its finder sees it; the census adds sizes and memory. */
export interface Found {
  readonly kind: SkipKind;
  readonly source: ValueName;
  /** Type of the source, which may lie in a body. */
  readonly type: ValueType | undefined;
  readonly merge: string;
  readonly mergeOutput: ValueName;
  readonly operand: number;
  readonly span: number;
  readonly sign: 1 | -1;
  readonly gamma: readonly Gamma[];
  readonly projection: readonly ProjectionLayer[];
  readonly normOnShortcut: boolean;
  readonly encoderDecoder: boolean;
  readonly block: BlockKind;
  readonly activation: Skip["activation"];
  readonly norm: Skip["norm"];
  readonly shortcut: readonly string[];
  readonly main: readonly string[];
  /** The body in which the merge stands; left out where that is the graph itself. */
  readonly body?: Graph;
  /** Left out for a skip that lies in no loop. */
  readonly recurrence?: Recurrence;
}
