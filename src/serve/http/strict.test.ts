import { expect, test } from "vitest";
import { originTarget } from "./strict.ts";

test.each([
  ["/v2?x=http://a", "/v2?x=http://a"],
  ["http://Localhost:80/v2/models?x=1", "/v2/models?x=1"],
  ["https://localhost:80", "/"],
  ["http://localhost:80?x", "/?x"],
  // Another host, another port, another scheme, no host at all: as they came, to be refused.
  ...[
    "http://evil/v2",
    "http://localhost:81/v2",
    "ftp://localhost:80/v2",
    "http:///v2",
    "v2",
    "*",
  ].map((url) => [url, url]),
])("the target %s is %s", (url, expected) => {
  expect(originTarget({ url, headers: { host: "localhost:80" } })).toBe(expected);
});

test("a target that names a host, without Host beside it, stays", () => {
  expect(originTarget({ url: "http://localhost/v2", headers: {} })).toBe("http://localhost/v2");
  expect(originTarget({ url: "v2", headers: {} })).toBe("v2");
});
