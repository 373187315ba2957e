// Names of nodes. Passes, findings and plans know a node by its name, so every node of a graph has one
// that no other has, also where a file or text gives none.

/** Gives the nodes of one graph their names, in order. */
export class NodeNames {
  readonly #taken = new Set<string>();
  /** Where the search for a free number goes on: a name that comes a million times costs a million steps. */
  readonly #next = new Map<string, number>();

  /** The name that a node without one would get now. */
  implied(op: string): string {
    return this.#free(`${op}_${this.#taken.size}`);
  }

  /** Makes sure that nobody gets the name. */
  reserve(name: string): void {
    this.#taken.add(name);
  }

  /** The name of the next node: its own if it has one that is free, else one made from it or from its op. */
  take(own: string, op: string): string {
    const name = own === "" ? this.implied(op) : this.#free(own);
    this.#taken.add(name);
    return name;
  }

  #free(stem: string): string {
    if (!this.#taken.has(stem)) return stem;
    for (let n = this.#next.get(stem) ?? 1; ; n++) {
      const name = `${stem}_${n}`;
      if (this.#taken.has(name)) continue;
      this.#next.set(stem, n);
      return name;
    }
  }
}
