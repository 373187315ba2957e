// The state of the page as its address: who is sent the address sees the same.

/** What a person has chosen. */
export interface Choice {
  /** `model/version` of the selected row; undefined is the first one. */
  readonly row: string | undefined;
  /** Of the charts and the counts. */
  readonly minutes: Minutes;
  /** Id of a rollout that is over and was opened. */
  readonly rollout: string | undefined;
  /** What the events are narrowed to. */
  readonly model: string | undefined;
  readonly kind: string | undefined;
}

/** Windows that one can look at, in minutes. */
export const WINDOWS = [5, 15, 30] as const;
export type Minutes = (typeof WINDOWS)[number];

const DEFAULT: Minutes = 5;
/** What is a text, in the order of the address. */
const TEXTS = ["row", "rollout", "model", "kind"] as const;

/** Reads the query of an address; what it does not know is as if it were not there. */
export function readChoice(search: string): Choice {
  const query = new URLSearchParams(search);
  const minutes = WINDOWS.find((one) => String(one) === query.get("minutes"));
  const text = (name: (typeof TEXTS)[number]): string | undefined => query.get(name) || undefined;
  return {
    row: text("row"),
    minutes: minutes ?? DEFAULT,
    rollout: text("rollout"),
    model: text("model"),
    kind: text("kind"),
  };
}

/** The query for a choice; empty where nothing was chosen. */
export function writeChoice(choice: Choice): string {
  const query = new URLSearchParams();
  const { minutes } = choice;
  for (const name of TEXTS) {
    const text = choice[name];
    if (text !== undefined) query.set(name, text);
    if (name === "row" && minutes !== DEFAULT) query.set("minutes", String(minutes));
  }
  const text = query.toString().replaceAll("%2F", "/");
  return text === "" ? "" : `?${text}`;
}

/** The next window. */
export function nextWindow(minutes: Minutes): Minutes {
  return WINDOWS[(WINDOWS.indexOf(minutes) + 1) % WINDOWS.length] ?? DEFAULT;
}
