// The repository extension over REST: what is there, and what a load may not bring. Nothing here changes what the
// other checks are asked about.

import { expect } from "vitest";
import type { RestCheck } from "./rest.ts";

const INDEX = "/v2/repository/index";
const LOAD = "/v2/repository/models/affine/load";

function refused(
  id: string,
  title: string,
  path: string,
  body: unknown,
  status: number,
): RestCheck {
  return { id, title, request: { method: "POST", path, body }, expect: { status } };
}

/** All checks of this kind. */
export const REPOSITORY: readonly RestCheck[] = [
  {
    id: "X5a",
    title: "the index, without a body",
    request: { method: "POST", path: INDEX },
    expect: {
      status: 200,
      also: ({ json }) =>
        expect(json).toEqual(
          expect.arrayContaining([
            { name: "affine", version: "1", state: "READY", reason: "" },
            { name: "affine", version: "2", state: "READY", reason: "" },
          ]),
        ),
    },
  },
  {
    id: "X5b",
    title: "the index of what is ready",
    request: { path: INDEX, body: { ready: true } },
    expect: { status: 200, also: ({ json }) => expect(json).not.toEqual([]) },
  },
  refused("X5c", "ready that is no truth value", INDEX, { ready: "yes" }, 400),
  refused("X5d", "an index that is no object", INDEX, [1], 400),
  refused("X5e", "an index that is no JSON", INDEX, "{", 400),
  refused("X5f", "deep JSON", INDEX, "[".repeat(100_000), 400),
  {
    id: "X5g",
    title: "a load with another configuration",
    request: { path: LOAD, body: { parameters: { config: "{}" } } },
    expect: { status: 400, error: /configuration is not taken from a request/ },
  },
  {
    id: "X5h",
    title: "a load with a file",
    request: { path: LOAD, body: { parameters: { "file:1/model.onnx": "AAAA" } } },
    expect: { status: 400, error: /models are not uploaded with a load/ },
  },
  refused("X5i", "a load with parameters that are none", LOAD, { parameters: { a: [] } }, 400),
  refused(
    "X5j",
    "a load of a name that climbs",
    "/v2/repository/models/..%2F..%2Fetc/load",
    {},
    404,
  ),
  refused("X5k", "a load of a model that is not there", "/v2/repository/models/none/load", {}, 404),
  refused(
    "X5l",
    "an unload of a model that is not there",
    "/v2/repository/models/none/unload",
    {},
    404,
  ),
  {
    id: "X5m",
    title: "an index takes POST only",
    request: { path: INDEX },
    expect: { status: 405, headers: { allow: /POST/ } },
  },
  {
    id: "X5n",
    title: "a load from a page of another site",
    request: { method: "POST", path: LOAD, headers: { origin: "https://elsewhere.example" } },
    expect: { status: 403 },
  },
  {
    id: "X5o",
    title: "the extension is advertised",
    request: { path: "/v2" },
    expect: {
      status: 200,
      json: { extensions: expect.arrayContaining(["model_repository", "binary_tensor_data"]) },
    },
  },
];
