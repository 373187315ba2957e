// Reading a JSON document that somebody else wrote, field by field: every fault is a sentence that names its
// field, and a field that nobody reads is one.

/** What a number may be. */
export interface Range {
  readonly min: number;
  readonly max: number;
  /** Whether it is one without a fraction. */
  readonly whole?: boolean;
  /** Whether the smallest one itself is too small. */
  readonly above?: boolean;
}

/** The fields of one object. What is left out, or null, is undefined; what is wrong is too, and a fault. */
export class Fields {
  readonly #where: string;
  readonly #faults: string[];
  readonly #values: ReadonlyMap<string, unknown>;
  readonly #read = new Set<string>();

  /** @param where in front of each name, such as `gates.slow.`; empty for the document itself. */
  constructor(value: unknown, where: string, faults: string[]) {
    this.#where = where;
    this.#faults = faults;
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    this.#values = new Map(isObject ? Object.entries(value) : []);
    if (!isObject) faults.push(`${where === "" ? "it" : where.slice(0, -1)} is no JSON object`);
  }

  get names(): readonly string[] {
    return [...this.#values.keys()];
  }

  /** The value as it stands there; undefined for null. */
  value(name: string): unknown {
    this.#read.add(name);
    return this.#values.get(name) ?? undefined;
  }

  /** Whether it stands there as null. */
  isNull(name: string): boolean {
    this.#read.add(name);
    return this.#values.get(name) === null;
  }

  number(name: string, range: Range): number | undefined {
    const value = this.value(name);
    if (value === undefined || isWithin(value, range)) return value;
    return this.fault(name, `is ${rangeText(range)}`);
  }

  boolean(name: string): boolean | undefined {
    const value = this.value(name);
    if (value === undefined || typeof value === "boolean") return value;
    return this.fault(name, "is true or false");
  }

  text(name: string, charsMax: number): string | undefined {
    const value = this.value(name);
    if (value === undefined) return undefined;
    if (typeof value === "string" && value.length <= charsMax) return value;
    return this.fault(name, `is a text of at most ${charsMax} characters`);
  }

  list(name: string, most: number): readonly unknown[] | undefined {
    const value = this.value(name);
    if (value === undefined) return undefined;
    // A list of JSON holds whatever it holds.
    if (Array.isArray(value) && value.length <= most) return value as readonly unknown[];
    return this.fault(name, `is a list of at most ${most}`);
  }

  object(name: string): Fields | undefined {
    const value = this.value(name);
    return value === undefined
      ? undefined
      : new Fields(value, `${this.#where}${name}.`, this.#faults);
  }

  /** Says what is wrong with a field. */
  fault(name: string, text: string): undefined {
    this.#faults.push(`${this.#where}${name} ${text}`);
  }

  /** Names every field that nobody asked for. */
  end(): void {
    const unknown = this.names.filter((name) => !this.#read.has(name)).slice(0, SHOWN);
    for (const name of unknown) {
      const known = [...this.#read].join(", ");
      this.#faults.push(`${this.#where}${name.slice(0, 64)} is no field; there are ${known}`);
    }
  }
}

/** Unknown fields that are named. */
const SHOWN = 10;

function isWithin(value: unknown, { min, max, whole, above }: Range): value is number {
  if (typeof value !== "number" || !(value >= min && value <= max)) return false;
  return !(above === true && value === min) && !(whole === true && !Number.isInteger(value));
}

function rangeText({ min, max, whole, above }: Range): string {
  const kind = whole === true ? "a whole number" : "a number";
  return above === true ? `${kind} above ${min}, at most ${max}` : `${kind} from ${min} to ${max}`;
}
