// The state of the page as its address: who is sent the address sees the same.

/** What a person has chosen. */
export interface Choice {
  /** `model/version` of the selected row; undefined is the first one. */
  readonly row: string | undefined;
  /** Of the charts and the counts. */
  readonly minutes: Minutes;
}

/** Windows that one can look at, in minutes. */
export const WINDOWS = [5, 15, 30] as const;
export type Minutes = (typeof WINDOWS)[number];

const DEFAULT: Minutes = 5;

/** Reads the query of an address; what it does not know is as if it were not there. */
export function readChoice(search: string): Choice {
  const query = new URLSearchParams(search);
  const minutes = WINDOWS.find((one) => String(one) === query.get("minutes"));
  return { row: query.get("row") ?? undefined, minutes: minutes ?? DEFAULT };
}

/** The query for a choice; empty where nothing was chosen. */
export function writeChoice({ row, minutes }: Choice): string {
  const query = new URLSearchParams();
  if (row !== undefined) query.set("row", row);
  if (minutes !== DEFAULT) query.set("minutes", String(minutes));
  const text = query.toString().replaceAll("%2F", "/");
  return text === "" ? "" : `?${text}`;
}

/** The next window. */
export function nextWindow(minutes: Minutes): Minutes {
  return WINDOWS[(WINDOWS.indexOf(minutes) + 1) % WINDOWS.length] ?? DEFAULT;
}
