import { expect, test } from "vitest";
import { withoutFolders } from "./folders.ts";

test.each([
  ["/srv/models/a.onnx: cannot be read", "a.onnx: cannot be read"],
  ['"/srv/a/b.bin" (/srv/c/d.bin) is gone', '"b.bin" (d.bin) is gone'],
  ["C:\\models\\a.onnx: no", "a.onnx: no"],
  ["ENOENT, open '/srv/x/blobs/ab'", "ENOENT, open 'ab'"],
  ["3 of 4 rows and/or 1/2; /v2 is a path as well", "3 of 4 rows and/or 1/2; v2 is a path as well"],
  ["see http://example.org/a/b", "see http://example.org/a/b"],
])("%s", (text, told) => {
  expect(withoutFolders(text)).toBe(told);
});

const HEX = "ab".repeat(32);
const BLOB = `blobs/sha256/${HEX.slice(0, 2)}/${HEX.slice(2)}`;

test("a blob is told by its whole digest", () => {
  expect(withoutFolders(`/srv/data/${BLOB}: was changed`)).toBe(`sha256:${HEX}: was changed`);
  const path = `/srv/my data/${BLOB}`;
  expect(withoutFolders(`ENOENT, open '${path}'`, path)).toBe(`ENOENT, open 'sha256:${HEX}'`);
});

test("folders that are known may have spaces in their names", () => {
  const path = "/srv/my models/a.onnx";
  expect(withoutFolders(`${path}: beside /srv/my models/w.bin`, path)).toBe("a.onnx: beside w.bin");
});
