import { expect, test } from "vitest";
import { parseGraph } from "../graph/parse.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import { decodeGolden, encodeGolden, type Golden, recordGolden } from "./golden.ts";

async function recorded(text: string): Promise<Golden | undefined> {
  const graph = parseGraph(text, { opsets: new Map([["", 20]]) });
  await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
  return await recordGolden(session);
}

test("outputs of text are left out, since the file has none", async () => {
  const both = await recorded(
    "g (float[N,4] x) => (string[N,4] t, float[N,4] y) { t = Cast <to = 8> (x)  y = Neg (x) }",
  );
  if (both === undefined) throw new Error("nothing was recorded");
  expect([...decodeGolden(encodeGolden(both)).outputs.keys()]).toEqual(["y"]);
  expect(await recorded("g (float[N,4] x) => (string[N,4] t) { t = Cast <to = 8> (x) }")).toBe(
    undefined,
  );
});
