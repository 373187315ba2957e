// How the learning rate moves through a run.

/** `cosine`: a linear rise over the first tenth, then half a cosine down to zero (Loshchilov and Hutter 2017). */
export type Schedule = "cosine" | "constant";

/** The factor on the peak rate at a step, 0 … 1. */
export function rateFactor(schedule: Schedule, step: number, steps: number): number {
  if (schedule === "constant") return 1;
  const rise = Math.max(1, Math.floor(steps / 10));
  if (step < rise) return (step + 1) / rise;
  return 0.5 * (1 + Math.cos((Math.PI * (step - rise)) / Math.max(1, steps - rise)));
}
