// A finding about something a user gave us: what, where, why and what to do, as data. Rendered once,
// in cli/ or at the HTTP edge; collected, never thrown at the first.

/** How bad a finding is. An `error` stops a release, a `warning` does not. */
export type Severity = "error" | "warning" | "info";

/** One finding. `id` is stable (`area/what`) and can be searched for in the documentation. */
export interface Diagnostic {
  readonly id: string;
  readonly severity: Severity;
  /** File, node or field, in the user's own words. */
  readonly where: string;
  /** What is wrong, and why. */
  readonly text: string;
  /** Further facts, one sentence each. */
  readonly notes: readonly string[];
  /** What to do about it. */
  readonly fix?: string;
}

/** Builds a diagnostic; `notes` may be left out. */
export function diagnostic(
  fields: Omit<Diagnostic, "notes"> & { notes?: readonly string[] },
): Diagnostic {
  return { ...fields, notes: fields.notes ?? [] };
}
