// What a picture says in words: for tips, for screen readers, and beside the picture.

import { formatBytes } from "../../base/format.ts";
import type { Sizes } from "../memory.ts";
import type { Picture, PictureSkip } from "./picture.ts";

/** One line about a model's skips. */
export function pictureSummary({ counts, denseLinks, nodes }: Picture): string {
  const parts = [
    `${counts.total} skips`,
    counts.additiveIdentity > 0 ? `${counts.additiveIdentity} identity` : "",
    counts.additiveProjection > 0 ? `${counts.additiveProjection} projection` : "",
    counts.concat > 0 ? `${counts.concat} concatenation` : "",
    counts.gated > 0 ? `${counts.gated} gated` : "",
    counts.conditional > 0 ? `${counts.conditional} conditional` : "",
    counts.recurrent > 0 ? `${counts.recurrent} recurrent` : "",
    counts.multiStream > 0 ? `${counts.multiStream} multi-stream` : "",
    denseLinks > 0 ? `${denseLinks} dense links` : "",
    counts.encoderDecoder > 0 ? `${counts.encoderDecoder} from encoder to decoder` : "",
    `${nodes.length} nodes`,
  ];
  return parts.filter((part) => part !== "").join(" · ");
}

/** `batch 8, S 128`: the sizes for which bytes are told. */
export function sizesText({ batch, sizes }: Sizes): string {
  const others = Object.entries(sizes).map(([name, size]) => `${name} ${size}`);
  return [`batch ${batch}`, ...others].join(", ");
}

/** One line about a skip. */
export function describeSkip(skip: PictureSkip): string {
  const parts = [
    `${skip.id} ${skip.kind}: ${skip.source} → ${skip.merge}`,
    `spans ${skip.span} ${skip.span === 1 ? "transform" : "transforms"}`,
    bytesOf(skip),
    skip.atPeak ? "alive at the memory peak" : "",
    ...skip.hazards.map((hazard) => hazard.text),
  ];
  return parts.filter((part) => part !== "").join(", ");
}

/** What a skip carries. */
export function bytesOf({ bytes }: PictureSkip): string {
  return bytes === null ? "size unknown" : formatBytes(bytes);
}
