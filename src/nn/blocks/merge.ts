// Where two paths meet: the check that their shapes agree, with the words in which it is said that they do
// not.

import type { ValueName } from "../../graph/graph.ts";
import { formatShape, type Shape } from "../../graph/shape.ts";
import type { Net } from "../net.ts";

/**
 * Ends the building where skip and branch are known to differ in shape; sizes that vary are taken at
 * their word.
 *
 * @param fix what would make them agree.
 */
export function mustAgree(net: Net, skip: ValueName, branch: ValueName, fix: string): void {
  const [a, b] = [net.shape(skip), net.shape(branch)];
  if (!differ(a, b)) return;
  mismatch(net, [skip, branch], fix);
}

/** Ends the building: the two sides of a merge do not fit. */
export function mismatch(
  net: Net,
  [skip, branch]: readonly [ValueName, ValueName],
  fix: string,
): never {
  const [from, to] = [net.shape(skip), net.shape(branch)].map(formatShape);
  const text = `the skip "${skip}" carries ${from}, the branch "${branch}" makes ${to}`;
  return net.fail("shape/mismatch", text, fix);
}

/** Whether two shapes cannot be the same, whatever their symbols stand for. */
export function differ(a: Shape, b: Shape): boolean {
  if (a.length !== b.length) return true;
  return a.some((dim, axis) => {
    const other = b[axis];
    return typeof dim === "number" && typeof other === "number" && dim !== other;
  });
}
