import { describe, expect, test } from "vitest";
import { float32 } from "../graph/tensor.ts";
import { BucketForms } from "./bucket-forms.ts";

function asked(columns: number) {
  const question = {
    bucket: `${columns},;`,
    rows: 1,
    batchable: true,
    elementsPerRow: columns,
    bytes: 4 * columns,
  };
  return {
    question,
    call: { inputs: new Map([["x", float32([1, columns], new Float32Array(columns))]]) },
  };
}

describe("forms of buckets", () => {
  test("the form of a bucket is the same object for the next request", () => {
    const forms = new BucketForms();
    const { question, call } = asked(3);
    forms.enter(question, call);
    const form = forms.get(question.bucket);
    forms.leave(question.bucket);
    expect(form?.shapes.get("x")).toEqual([1, 3]);
    expect(forms.of(question, asked(3).call)).toBe(form);
  });

  test("a form is made, and not kept, for a request that is not under way", () => {
    const forms = new BucketForms();
    const { question, call } = asked(3);
    expect(forms.of(question, call)).toMatchObject({ bucket: "3,;", batchable: true });
    expect(forms.size).toBe(0);
  });

  test("of made-up shapes no more are kept than are under way, or 64", () => {
    const forms = new BucketForms();
    for (let columns = 1; columns <= 1000; columns++) {
      const { question, call } = asked(columns);
      forms.enter(question, call);
      forms.leave(question.bucket);
    }
    expect(forms.size).toBe(64);
    for (let columns = 2001; columns <= 2100; columns++) {
      const { question, call } = asked(columns);
      forms.enter(question, call);
    }
    expect(forms.get("2100,;")).toBeDefined();
    for (let columns = 2001; columns <= 2100; columns++) forms.leave(`${columns},;`);
    expect(forms.size).toBe(64);
  });
});
