// Curves in a terminal, drawn with braille dots: two columns and four rows of dots in each character.

/** One curve. Values that are not finite are left out. */
export interface Curve {
  readonly values: readonly number[];
  /** Name in the legend. */
  readonly name: string;
  /** Drawn as a line of single dots, or doubled so that it differs without colour. */
  readonly heavy?: boolean;
}

/** Size and scale of a plot. */
export interface PlotOptions {
  readonly width: number;
  readonly height: number;
  /** Points that the x axis has room for. */
  readonly points: number;
  /** Smallest and largest value shown; the y axis is logarithmic. */
  readonly low: number;
  readonly high: number;
}

/** Bits of the dots of a braille character, by column and row (Unicode 15, block Braille Patterns). */
const DOTS = [
  [0x01, 0x02, 0x04, 0x40],
  [0x08, 0x10, 0x20, 0x80],
] as const;
const LABEL = 7;

/** The lines of a plot with its axis; one grid of cells for each curve, to be coloured by the caller. */
export function plotLines(
  curves: readonly Curve[],
  options: PlotOptions,
  paint: (text: string, curve: number) => string = (text) => text,
): string[] {
  const columns = Math.max(8, options.width - LABEL - 2);
  const labels = axisLabels(options);
  const grids = curves.map((curve) => gridOf(curve, { ...options, width: columns }));
  return Array.from({ length: options.height }, (_, row) => {
    const cells = Array.from({ length: columns }, (_, column) => {
      const owner = grids.findIndex((grid) => (grid[row]?.[column] ?? 0) > 0);
      if (owner < 0) return " ";
      const bits = grids.reduce((all, grid) => all | (grid[row]?.[column] ?? 0), 0);
      return paint(String.fromCodePoint(0x2800 + bits), owner);
    });
    return `${(labels.get(row) ?? "").padStart(LABEL)} │${cells.join("").trimEnd()}`;
  });
}

/** Labels by row: 1 and 3 of each decade, at the row that lies nearest. */
function axisLabels({ height, low, high }: PlotOptions): Map<number, string> {
  const labels = new Map<number, string>();
  for (let decade = Math.floor(Math.log10(low)); decade <= Math.log10(high); decade++) {
    for (const digit of [1, 3]) {
      const value = digit * 10 ** decade;
      const share = Math.log(value / low) / Math.log(high / low);
      if (share < -0.01 || share > 1.01) continue;
      const row = Math.round((1 - share) * (height - 1));
      labels.set(row, Number(value.toPrecision(1)).toString());
    }
  }
  return labels;
}

function gridOf(curve: Curve, options: PlotOptions): number[][] {
  const { width, height, points, low, high } = options;
  const grid = Array.from({ length: height }, () => new Array<number>(width).fill(0));
  const set = (x: number, y: number): void => {
    const row = grid[Math.floor(y / 4)];
    const column = Math.floor(x / 2);
    if (row === undefined || column < 0 || column >= width) return;
    row[column] = (row[column] ?? 0) | (DOTS[x % 2 === 0 ? 0 : 1][y % 4] ?? 0);
  };
  const yOf = (value: number): number => {
    const share = Math.log(value / low) / Math.log(high / low);
    return Math.round((1 - Math.min(1, Math.max(0, share))) * (height * 4 - 1));
  };
  let before: readonly [number, number] | undefined;
  for (const [i, value] of curve.values.entries()) {
    if (!Number.isFinite(value) || value <= 0) continue;
    const x = Math.round((i / Math.max(1, points - 1)) * (width * 2 - 1));
    const y = yOf(value);
    for (const [px, py] of lineBetween(before ?? [x, y], [x, y])) {
      set(px, py);
      if (curve.heavy === true) set(px, Math.max(0, py - 1));
    }
    before = [x, y];
  }
  return grid;
}

function* lineBetween(
  [x1, y1]: readonly [number, number],
  [x2, y2]: readonly [number, number],
): Generator<readonly [number, number]> {
  const steps = Math.max(Math.abs(x2 - x1), Math.abs(y2 - y1), 1);
  for (let i = 0; i <= steps; i++) {
    yield [Math.round(x1 + ((x2 - x1) * i) / steps), Math.round(y1 + ((y2 - y1) * i) / steps)];
  }
}
