// From a drawing to what the model takes. The digits that it learned were 32x32 bitmaps, normalised for
// size and place, whose 4x4 blocks were counted (Alpaydin and Kaynak 1998): the same is done here.

/** Side of the bitmap and of the model's image. */
const BITMAP = 32;
const SIDE = 8;
const BLOCK = BITMAP / SIDE;
/** Columns of the bitmap that a digit may fill; the outer ones are empty in all of the training digits. */
const WIDTH_MAX = 24;
/** How many times wider than high a drawing may be before it no longer fills the height. */
const SQUEEZE_MAX = 3;

/** Ink, from 0 to 1, row by row. */
export interface Drawing {
  readonly width: number;
  readonly height: number;
  readonly ink: ArrayLike<number>;
}

/** The smallest box around the ink, or undefined for an empty drawing. */
function boxOf({
  width,
  height,
  ink,
}: Drawing): { left: number; top: number; right: number; bottom: number } | undefined {
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if ((ink[y * width + x] ?? 0) < 0.5) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
  }
  return right < 0 ? undefined : { left, top, right, bottom };
}

/**
 * The 8x8 image of a drawing, values 0 … 1: the ink's box is scaled to the height of the bitmap and
 * centred, then the ink in each 4x4 block is counted. Undefined for an empty drawing.
 */
export function toDigit(drawing: Drawing): number[] | undefined {
  const box = boxOf(drawing);
  if (box === undefined) return undefined;
  const [wide, high] = [box.right - box.left + 1, box.bottom - box.top + 1];
  // All 1,437 training digits fill the height, none the width: wide ones are squeezed, slim ones stay.
  const scaleY = Math.max(high, wide / SQUEEZE_MAX) / BITMAP;
  const scaleX = Math.max(scaleY, wide / WIDTH_MAX);
  const shiftX = (BITMAP - wide / scaleX) / 2;
  const shiftY = (BITMAP - high / scaleY) / 2;
  const counts = new Array<number>(SIDE * SIDE).fill(0);
  for (let y = 0; y < BITMAP; y++) {
    for (let x = 0; x < BITMAP; x++) {
      const sourceX = Math.floor(box.left + (x + 0.5 - shiftX) * scaleX);
      const sourceY = Math.floor(box.top + (y + 0.5 - shiftY) * scaleY);
      const inside =
        sourceX >= box.left && sourceX <= box.right && sourceY >= box.top && sourceY <= box.bottom;
      const set = inside && (drawing.ink[sourceY * drawing.width + sourceX] ?? 0) >= 0.5;
      const block = Math.floor(y / BLOCK) * SIDE + Math.floor(x / BLOCK);
      counts[block] = (counts[block] ?? 0) + Number(set);
    }
  }
  return counts.map((count) => count / (BLOCK * BLOCK));
}
