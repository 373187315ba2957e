// Names as the bodies of control flow see them: their own, then those of the graphs around them.

/** Something known of each visible name. A body's scope sees what is put into the outer one later. */
export class Scope<T> {
  readonly #own = new Map<string, T>();
  readonly #outer: Scope<T> | undefined;

  constructor(outer?: Scope<T>) {
    this.#outer = outer;
  }

  /** Makes a name visible here and in scopes inside. */
  set(name: string, known: T): void {
    this.#own.set(name, known);
  }

  /** Whether the name is of this scope itself. */
  owns(name: string): boolean {
    return this.#own.has(name);
  }

  /** Whether the name is visible. */
  has(name: string): boolean {
    return this.owns(name) || this.hides(name);
  }

  /** Whether a scope around this one has the name. */
  hides(name: string): boolean {
    return this.#outer?.has(name) ?? false;
  }

  /** What is known of the nearest value of that name. */
  get(name: string): T | undefined {
    return this.owns(name) ? this.#own.get(name) : this.#outer?.get(name);
  }
}
