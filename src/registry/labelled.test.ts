import { expect, test } from "vitest";
import { bytesOf, float32, tensor } from "../graph/tensor.ts";
import type { Session } from "../runtime/runner.ts";
import { encodeSafetensors } from "../train/safetensors.ts";
import { decodeLabelled, rightOnes } from "./labelled.ts";

/** Scores of three classes; that of the input is the highest. */
const session: Session = {
  inputs: new Map([["x", { dtype: "float32", shape: ["N", 1] }]]),
  outputs: new Map([["y", { dtype: "float32", shape: ["N", 3] }]]),
  run: async (feeds) => {
    const [x] = feeds.values();
    const given = new Float32Array(Uint8Array.from(x?.data.bytes ?? []).buffer);
    const scores = [...given].flatMap((one) => [0, 1, 2].map((i) => (i === one ? 1 : 0)));
    return new Map([["y", float32([given.length, 3], scores)]]);
  },
  memory: () => Promise.reject(new Error("nobody asks")),
  close: async () => undefined,
  [Symbol.asyncDispose]: async () => undefined,
};

function examples(labels: readonly number[]) {
  const file = encodeSafetensors(
    new Map([
      [
        "x",
        float32(
          [labels.length, 1],
          labels.map((_, i) => i % 3),
        ),
      ],
      ["label", tensor("int64", [labels.length], bytesOf(BigInt64Array.from(labels, BigInt)))],
    ]),
    new Map(),
  );
  return decodeLabelled(file, "examples");
}

test("an example is right where its class has the highest score", async () => {
  expect(await rightOnes(session, examples([0, 1, 1, 0]))).toEqual([true, true, false, true]);
});

test.each([3, -1])("class %i of three is none, and is told", async (label) => {
  const found = rightOnes(session, examples([0, label]));
  await expect(found).rejects.toThrow(
    `class ${label} for example 1, and those of the model are 0 to 2`,
  );
});
