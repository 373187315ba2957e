// The forms of the buckets that requests come in: what memory admission is asked about. A form stays the same object
// from request to request, so that what is known of it is found without reading its shapes again.

import type { BucketForm } from "./engine-memory.ts";
import type { InferenceCall } from "./inference.ts";
import type { Question } from "./question.ts";
import { shapesOf } from "./run-batch.ts";

/** Forms that are kept when no request of theirs is under way: clients make shapes up. */
const KEPT = 64;

/** Forms of one version, by bucket. */
export class BucketForms {
  readonly #known = new Map<string, { readonly form: BucketForm; users: number }>();

  get size(): number {
    return this.#known.size;
  }

  get(bucket: string): BucketForm | undefined {
    return this.#known.get(bucket)?.form;
  }

  /** The form of a request, under way or not. */
  of({ bucket, batchable }: Question, call: Pick<InferenceCall, "inputs">): BucketForm {
    return this.get(bucket) ?? { bucket, shapes: shapesOf(call), batchable };
  }

  /** A request is under way: its form is known until it leaves. */
  enter(question: Question, call: Pick<InferenceCall, "inputs">): void {
    const known = this.#known.get(question.bucket);
    if (known !== undefined) known.users++;
    else this.#known.set(question.bucket, { form: this.of(question, call), users: 1 });
  }

  leave(bucket: string): void {
    const known = this.#known.get(bucket);
    if (known === undefined) return;
    known.users--;
    if (known.users === 0 && this.#known.size > KEPT) this.#known.delete(bucket);
  }
}
