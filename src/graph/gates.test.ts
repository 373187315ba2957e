import { expect, test } from "vitest";
import { gatesMetadata, gatesOf } from "./gates.ts";
import { parseGraph } from "./parse.ts";

const graph = parseGraph(
  "g (float[N] x) => (float[N] y, float[N] a_gate, int64[N] i) { y = Neg (x)  a_gate = Exp (x)  i = Cast <to = 7> (x) }",
  { opsets: new Map([["", 20]]) },
);
const said = (text: string) => gatesOf({ ...graph, metadata: new Map([["skipway.gates", text]]) });

test("what is written is read", () => {
  const gates = new Map([
    ["a_gate", 0.5],
    ["y", 0],
  ]);
  expect(gatesOf({ ...graph, metadata: gatesMetadata(gates) })).toEqual(gates);
  expect(gatesMetadata(new Map()).size).toBe(0);
});

test("a file that says something else has no gates", () => {
  expect(gatesOf(graph).size).toBe(0);
  for (const text of ["", "{", "[1]", "null", '"y"', "7"]) expect(said(text).size, text).toBe(0);
  // No output, no numbers of float32, no level; a name that objects have by themselves.
  const strange = '{"none":0.5,"i":0.5,"a_gate":"0.5","__proto__":0.5,"y":0.25}';
  expect(said(strange)).toEqual(new Map([["y", 0.25]]));
  expect(said(`{"y":0.5}${" ".repeat(70_000)}`).size).toBe(0);
});
