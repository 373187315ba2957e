// What each key does.

/** Commands of the page. */
export type Command =
  | "down"
  | "up"
  | "first"
  | "last"
  | "reload"
  | "drain"
  | "split"
  | "roll-back"
  | "freeze"
  | "hold"
  | "promote"
  | "window"
  | "help"
  | "home"
  | "close";

/** Keys by command, for `?`. */
export const KEYS: readonly {
  readonly keys: readonly string[];
  readonly command: Command;
  readonly text: string;
}[] = [
  { keys: ["j", "ArrowDown"], command: "down", text: "next version" },
  { keys: ["k", "ArrowUp"], command: "up", text: "version before" },
  { keys: ["Home"], command: "first", text: "first version" },
  { keys: ["End"], command: "last", text: "last version" },
  { keys: ["r"], command: "reload", text: "reload the model from its source" },
  { keys: ["d"], command: "drain", text: "drain the version; unload a model with one" },
  { keys: ["s"], command: "split", text: "set the split of the model" },
  { keys: ["b"], command: "roll-back", text: "roll the canary of the model back" },
  { keys: ["f"], command: "freeze", text: "freeze the rollout; resume one that is frozen" },
  { keys: ["o"], command: "hold", text: "hold the rollout at its step; resume it" },
  { keys: ["p"], command: "promote", text: "promote the canary" },
  { keys: ["w"], command: "window", text: "next window of time" },
  { keys: ["h"], command: "home", text: "home page" },
  { keys: ["?"], command: "help", text: "these keys" },
  { keys: ["Escape"], command: "close", text: "close what is open; nothing is done" },
];

/** The command of a key press; undefined for one that is the browser's, or goes into a field. */
export function commandOf(press: {
  readonly key: string;
  readonly ctrlKey: boolean;
  readonly metaKey: boolean;
  readonly altKey: boolean;
  /** Whether a field has the focus. */
  readonly typing: boolean;
}): Command | undefined {
  if (press.typing || press.ctrlKey || press.metaKey || press.altKey) return undefined;
  return KEYS.find(({ keys }) => keys.includes(press.key))?.command;
}

/** The key of a command. */
export function keyFor(command: Command): string {
  return KEYS.find((one) => one.command === command)?.keys[0] ?? "";
}

/** The row that a command leads to. */
export function rowAfter(command: Command, at: number, count: number): number {
  const last = Math.max(0, count - 1);
  const moved = { down: at + 1, up: at - 1, first: 0, last } as const;
  const to = command in moved ? moved[command as keyof typeof moved] : at;
  return Math.min(last, Math.max(0, to));
}
