// The weights with which Resize takes the pixels of its input, along one axis (ONNX Resize-19).

/** How the pixels of one axis are mapped. */
export interface Mapping {
  readonly input: number;
  readonly output: number;
  /** Of output to input, as it was given. */
  readonly scale: number;
  /** Start and end of what is resized, as shares of the axis. */
  readonly roi: readonly [number, number];
}

/** The attributes of Resize that decide the weights. */
export interface Modes {
  readonly mode: string;
  /** `coordinate_transformation_mode`. */
  readonly places: string;
  /** `nearest_mode`. */
  readonly rounding: string;
  /** `cubic_coeff_a`. */
  readonly cubic: number;
  readonly antialias: boolean;
  readonly excludeOutside: boolean;
}

/** Where an output pixel lies among the input pixels. */
function placeOf(places: string, at: number, { input, output, scale, roi }: Mapping): number {
  const [start, end] = roi;
  const centred = (at + 0.5) / scale - 0.5;
  switch (places) {
    case "align_corners":
      return output === 1 ? 0 : (at * (input - 1)) / (output - 1);
    case "asymmetric":
      return at / scale;
    case "pytorch_half_pixel":
      return output === 1 ? 0 : centred;
    case "tf_half_pixel_for_nn":
      return (at + 0.5) / scale;
    case "tf_crop_and_resize":
      return output === 1
        ? 0.5 * (start + end) * (input - 1)
        : start * (input - 1) + (at * (end - start) * (input - 1)) / (output - 1);
    case "half_pixel_symmetric": {
      // The middle stays in the middle where the output was rounded down.
      const share = output / (scale * input);
      return (input / 2) * (1 - share) + centred;
    }
    default:
      return centred;
  }
}

function rounded(rounding: string, place: number): number {
  switch (rounding) {
    case "floor":
      return Math.floor(place);
    case "ceil":
      return Math.ceil(place);
    case "round_prefer_ceil":
      return Math.floor(place + 0.5);
    default:
      return Math.ceil(place - 0.5);
  }
}

function linearKernel(distance: number): number {
  return Math.max(0, 1 - Math.abs(distance));
}

/** Keys 1981, "Cubic convolution interpolation for digital image processing", equation 15 with free a. */
function cubicKernel(a: number): (distance: number) => number {
  return (distance) => {
    const d = Math.abs(distance);
    if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
  };
}

/** A row of weights over the input for each output pixel; zeros for one that lies outside. */
export function weightsOf(modes: Modes, mapping: Mapping): readonly (readonly number[])[] {
  return Array.from({ length: mapping.output }, (_, at) => rowOf(modes, mapping, at));
}

function rowOf(modes: Modes, mapping: Mapping, at: number): number[] {
  const { input } = mapping;
  const row = new Array<number>(input).fill(0);
  const place = placeOf(modes.places, at, mapping);
  if (modes.places === "tf_crop_and_resize" && (place < 0 || place > input - 1)) return row;
  const clamped = (i: number): number => Math.min(Math.max(i, 0), input - 1);
  if (modes.mode === "nearest") {
    row[clamped(rounded(modes.rounding, place))] = 1;
    return row;
  }
  // Antialiasing stretches the kernel over as many pixels as become one.
  const squeeze = modes.antialias ? Math.min(1, mapping.scale) : 1;
  const isCubic = modes.mode === "cubic";
  const kernel = isCubic ? cubicKernel(modes.cubic) : linearKernel;
  const reach = (isCubic ? 2 : 1) / squeeze;
  let total = 0;
  for (let i = Math.ceil(place - reach); i <= Math.floor(place + reach); i++) {
    const isOutside = i < 0 || i >= input;
    if (isOutside && modes.excludeOutside) continue;
    const weight = kernel((i - place) * squeeze);
    total += weight;
    row[clamped(i)] = (row[clamped(i)] ?? 0) + weight;
  }
  return row.map((weight) => weight / total);
}
