import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Graph, NO_ATTRIBUTES, type Node } from "./graph.ts";
import { inOrder } from "./order.ts";
import { graphDiagnostics } from "./verify.ts";

/** A graph of nodes n0, n1 …, each reading the outputs of others. */
function graphOf(reads: readonly (readonly number[])[]): Graph {
  const nodes = reads.map(
    (from, i): Node => ({
      name: `n${i}`,
      op: "Sum",
      domain: "",
      inputs: ["x", ...from.map((j) => `v${j}`)],
      outputs: [`v${i}`],
      attributes: NO_ATTRIBUTES,
    }),
  );
  const none = new Map<string, never>();
  const x = { name: "x", dtype: "float32" as const, shape: [1] };
  const given = { initializers: none, values: none, metadata: none };
  return { name: "g", inputs: [x], outputs: [], nodes, opsets: new Map([["", 20]]), ...given };
}

const told = (reads: readonly (readonly number[])[]): string[] =>
  graphDiagnostics(graphOf(reads)).map((one) => `${one.id} ${one.where}`);

/** Whether `to` can be reached from `from`. */
function reaches(reads: readonly (readonly number[])[], from: number, to: number): boolean {
  const seen = new Set([from]);
  for (const node of seen) for (const next of reads[node] ?? []) seen.add(next);
  return seen.has(to) && (from !== to || (reads[from] ?? []).includes(to));
}

describe("nodes that stand in the wrong order", () => {
  test("read before they are made", () => {
    expect(told([[1], []])).toEqual(["graph/unsorted n0"]);
    expect(told([[], [0]])).toEqual([]);
  });

  test("in a circle of one, of two, and beside one", () => {
    expect(told([[0]])).toEqual(["graph/cycle n0"]);
    expect(told([[1], [0]])).toEqual(["graph/cycle n0"]);
    expect(told([[1], [2], [1]])).toEqual(["graph/unsorted n0", "graph/cycle n1"]);
  });

  test("every read of a later node is told, and as what it is", () => {
    const edges = fc.array(fc.array(fc.nat(7), { maxLength: 3 }), { minLength: 8, maxLength: 8 });
    fc.assert(
      fc.property(edges, (reads) => {
        const expected = reads.flatMap((from, i) =>
          from
            .filter((j) => j >= i)
            .map((j) => `graph/${reaches(reads, j, i) ? "cycle" : "unsorted"} n${i}`),
        );
        expect(told(reads)).toEqual(expected);
      }),
    );
  });

  test("a chain as long as a file", () => {
    const reads = Array.from({ length: 100_000 }, (_, i) => [i + 1]);
    reads[99_999] = [0];
    expect(told(reads)).toHaveLength(99_999);
  });
});

describe("nodes brought into order", () => {
  test("each stands behind what it reads; lists that need no change or have a circle stay as they are", () => {
    const edges = fc.array(fc.array(fc.nat(7), { maxLength: 2 }), { minLength: 8, maxLength: 8 });
    fc.assert(
      fc.property(edges, (reads) => {
        const graph = graphOf(reads);
        const nodes = inOrder(graph.nodes);
        const circular = told(reads).some((one) => one.startsWith("graph/cycle"));
        expect(new Set(nodes)).toEqual(new Set(graph.nodes));
        if (circular || told(reads).length === 0) expect(nodes).toBe(graph.nodes);
        else expect(graphDiagnostics({ ...graph, nodes })).toEqual([]);
      }),
    );
  });

  test("as early as can be, else in the order given", () => {
    const names = inOrder(graphOf([[], [3], [], [2], []]).nodes).map(({ name }) => name);
    expect(names).toEqual(["n0", "n2", "n3", "n1", "n4"]);
  });

  test("what a body reads from around counts", () => {
    const body = graphOf([[]]);
    const reading = {
      ...body,
      inputs: [],
      nodes: body.nodes.map((n) => ({ ...n, inputs: ["v1"] })),
    };
    const [first, second] = graphOf([[], []]).nodes;
    const attributes = new Map([["body", { kind: "graph" as const, value: reading }]]);
    const nodes = [first, second].flatMap((node, i) =>
      node === undefined ? [] : i === 0 ? [{ ...node, op: "Loop", attributes }] : [node],
    );
    expect(inOrder(nodes).map(({ name }) => name)).toEqual(["n1", "n0"]);
  });

  test("a chain as long as a file, from its end", () => {
    const reads = Array.from({ length: 100_000 }, (_, i) => (i < 99_999 ? [i + 1] : []));
    expect(inOrder(graphOf(reads).nodes)[0]?.name).toBe("n99999");
  });
});
