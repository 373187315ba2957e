// The alias of what answers, as a rollout moves it, looks after it, and leaves it: the registry is everybody's, and
// nobody tells who has moved it.

import { messageOf } from "../base/errors.ts";
import type { Fleet } from "../serve/fleet.ts";
import type { RolloutFacts } from "./record.ts";
import type { Reason, RolloutEvent } from "./state.ts";

/** The alias of the version that answers where none is named. */
export interface Aliases {
  /** Where it points; undefined where there is none. */
  stable(model: string): Promise<number | undefined>;
  /** @throws SkipwayError where the registry cannot be written, or does not allow it. */
  move(
    model: string,
    version: number,
    by: { readonly actor: string; readonly reason: string; readonly override: boolean },
  ): Promise<void>;
}

type Facts = Pick<RolloutFacts, "id" | "model" | "from" | "to" | "override">;

/** Between two looks. */
const LOOK_MS = 1000;

/** The alias of one rollout. */
export class RolloutAlias {
  readonly #aliases: Aliases | undefined;
  readonly #facts: Facts;
  readonly #tell: (event: RolloutEvent) => void;
  /** Beginnings and ends of moves: what was read before one of them says nothing after it. */
  #moves = 0;
  #looking = false;
  #nextMs = Number.NEGATIVE_INFINITY;

  /** @param aliases left out where no registry says what is served: then nothing is moved. */
  constructor(aliases: Aliases | undefined, facts: Facts, tell: (event: RolloutEvent) => void) {
    this.#aliases = aliases;
    this.#facts = facts;
    this.#tell = tell;
  }

  /** Moves it, unless others have moved it to a third version, and tells how that ended. */
  async move(version: number, because: Reason | null): Promise<void> {
    const { model, override, from, id } = this.#facts;
    const actor = because?.actor ?? "rollout";
    const reason = `rollout ${id}: ${override ?? because?.text ?? ""}`;
    let end: { moved: boolean; text: string; elsewhere?: number } = { moved: true, text: "" };
    this.#moves++;
    try {
      const elsewhere = this.#third(await this.#aliases?.stable(model));
      if (elsewhere !== undefined) end = { moved: false, text: "", elsewhere };
      else {
        const by = { actor, reason, override: override !== null || version === from };
        await this.#aliases?.move(model, version, by);
      }
    } catch (error) {
      end = { moved: false, text: messageOf(error) };
    }
    this.#moves++;
    this.#tell({ kind: "alias", version, ...end });
  }

  /** Looks where it points, now and then, and tells. */
  look(nowMs: number): void {
    const aliases = this.#aliases;
    if (aliases === undefined || this.#looking || nowMs < this.#nextMs) return;
    this.#looking = true;
    this.#nextMs = nowMs + LOOK_MS;
    const moves = this.#moves;
    aliases
      .stable(this.#facts.model)
      .then((version) => {
        if (version === undefined || moves !== this.#moves) return;
        this.#tell({ kind: "alias-seen", version });
      })
      // Whoever has to move it is told that the registry is lost.
      .catch(() => undefined)
      .finally(() => {
        this.#looking = false;
      });
  }

  /**
   * Gives the split back once the rollout is over. Where others have moved the alias to a third version, that is
   * followed from here on, as a server that starts would.
   *
   * @returns what is not as a server that starts would have it; null where all is.
   */
  async leave(fleet: Fleet, answers: number): Promise<string | null> {
    const { model, from, to } = this.#facts;
    const version = await this.#aliases?.stable(model).catch(() => undefined);
    const follows = this.#third(version) !== undefined;
    try {
      await fleet.release(model, follows);
      await Promise.all([fleet.letGo(model, from), fleet.letGo(model, to)]);
      if (follows) await fleet.sync();
    } catch {
      // A model that was unloaded meanwhile has nothing to let go, and what cannot be read now is read again.
    }
    if (follows || version === undefined || version === answers) return null;
    return `the alias stable points to version ${version}, and version ${answers} answers: move the alias, or another start of the server serves version ${version}`;
  }

  #third(version: number | undefined): number | undefined {
    const { from, to } = this.#facts;
    return version === from || version === to ? undefined : version;
  }
}
