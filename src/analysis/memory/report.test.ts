import { expect, test } from "vitest";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import { parseGraph } from "../../graph/parse.ts";
import { verify } from "../../ops/verify.ts";
import { withOrder } from "./reorder.ts";
import { memoryReport } from "./report.ts";

/** Two residual blocks over 1,024 bytes an image: each sum is alive with both that it is made of. */
const BLOCKS = `<ir_version: 10, opset_import: ["": 20]>
net (float[N, 4, 8, 8] x) => (float[N, 4, 8, 8] y)
<float[4, 4, 3, 3] w = {${new Array(144).fill("1").join(", ")}}>
{
    h = Conv <pads = [1, 1, 1, 1]> (x, w)
    f = Conv <pads = [1, 1, 1, 1]> (h, w)
    ["first"] s = Add(h, f)
    g = Conv <pads = [1, 1, 1, 1]> (s, w)
    ["second"] y = Add(s, g)
}`;

test("blocks that tie for the peak: no single skip lowers it, all together do", () => {
  const graph = parseGraph(BLOCKS);
  const report = memoryReport(inferShapes(graph), { batch: 2 });
  expect(report.peakBytes).toBe(3 * 2048);
  expect(report.withoutSkip.map((one) => one.peakBytes)).toEqual([3 * 2048, 3 * 2048]);
  expect(report.withoutTies).toEqual({ skips: ["s1", "s2"], peakBytes: 2 * 2048 });
  expect(report.withoutSkipsPeakBytes).toBe(2 * 2048);
  expect(report.skipTax).toBeCloseTo(1 / 3);
  expect(report.atPeak.map(({ value, because }) => [value, because])).toContainEqual(["h", "s1"]);
  expect(report.best.optimal).toBe(true);
  expect(report.arenaBytes).toBe(report.arenaLowerBoundBytes);
});

test("an order puts what is not named before what first needs it", () => {
  const { nodes, ...rest } = parseGraph(BLOCKS);
  const [h, f, ...more] = nodes;
  const names = ["second", f?.name ?? "", h?.name ?? ""];
  const ordered = withOrder({ ...rest, nodes }, names);
  expect(verify(ordered)).toEqual([]);
  expect(ordered.nodes.at(-1)?.name).toBe("second");
  expect(new Set(ordered.nodes)).toEqual(new Set([h, f, ...more]));
});
