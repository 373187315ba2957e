// Addresses, methods, names, health and metadata (R1-R5, R9), and the extensions beside inference.

import { expect } from "vitest";
import type { RestCheck } from "./rest.ts";

const SERVER = { name: "skipway", version: "1.2.3", extensions: expect.any(Array) };

/** A wrong verb is 405 and says which one is right (RFC 9110, 15.5.6). */
function wrongVerb(id: string, method: string, path: string, allow: string): RestCheck {
  return {
    id,
    title: `${method} ${path} is 405`,
    request: { method, path },
    expect: { status: 405, error: new RegExp(allow), headers: { allow: new RegExp(allow) } },
  };
}

function missing(id: string, title: string, path: string, status = 404): RestCheck {
  return { id, title, request: { path }, expect: { status } };
}

/** All checks of this kind. */
export const ENDPOINTS: readonly RestCheck[] = [
  {
    id: "R1a",
    title: "GET /v2 describes the server",
    request: { path: "/v2" },
    expect: { status: 200, json: SERVER, headers: { "content-type": /^application\/json/ } },
  },
  {
    id: "R1b",
    title: "GET /v2/ is the same",
    request: { path: "/v2/" },
    expect: { status: 200, json: SERVER },
  },
  wrongVerb("R1c", "POST", "/v2", "GET"),
  wrongVerb("R1d", "GET", "/v2/models/affine/infer", "POST"),
  wrongVerb("R1e", "DELETE", "/v2/models/affine", "GET"),
  wrongVerb("R1f", "PUT", "/v2/health/live", "GET"),
  wrongVerb("R1g", "GET", "/v2/models/affine/versions/1/infer", "POST"),
  missing("R1h", "a name that is not there", "/v2/models/none"),
  missing("R1i", "a version that is not there", "/v2/models/affine/versions/9"),
  missing("R1j", "a version that is no number", "/v2/models/affine/versions/one"),
  missing("R1k", "a name with an encoded slash", "/v2/models/a%2Fb"),
  missing("R1l", "a name that climbs", "/v2/models/..%2F..%2Fetc"),
  missing("R1m", "a name with NUL", "/v2/models/affine%00"),
  missing("R1n", "a blank name", "/v2/models/%20"),
  missing("R1o", "a name encoded twice is decoded once", "/v2/models/%2561ffine"),
  missing("R1p", "a broken percent sign", "/v2/models/%zz", 400),
  missing("R1q", "a name that is no UTF-8", "/v2/models/%ff%fe", 400),
  missing("R1r", "a version with leading zeros is another name", "/v2/models/affine/versions/01"),
  {
    id: "R1s",
    title: "a name whose letters are encoded is that name",
    request: { path: "/v2/models/%61ffine" },
    expect: { status: 200, json: { name: "affine" } },
  },
  {
    id: "R1t",
    title: "HEAD answers as GET, without a body",
    request: { method: "HEAD", path: "/v2/health/live" },
    expect: { status: 200, also: ({ bytes }) => expect(bytes.byteLength).toBe(0) },
  },
  {
    id: "R2a",
    title: "live has a body",
    request: { path: "/v2/health/live" },
    expect: { status: 200, json: { live: true } },
  },
  {
    id: "R2b",
    title: "ready has a body",
    request: { path: "/v2/health/ready" },
    expect: { status: 200, json: { ready: true } },
  },
  {
    id: "R2c",
    title: "ready of a model has its name",
    request: { path: "/v2/models/affine/ready" },
    expect: { status: 200, json: { name: "affine", ready: true } },
  },
  {
    id: "R2d",
    title: "ready of a version",
    request: { path: "/v2/models/affine/versions/1/ready" },
    expect: { status: 200, json: { name: "affine", ready: true } },
  },
  missing("R3a", "ready of a model that is not there", "/v2/models/none/ready"),
  {
    id: "R4a",
    title: "only extensions that work are advertised",
    request: { path: "/v2" },
    expect: {
      status: 200,
      also: ({ json }) => {
        const { extensions } = json as { extensions: string[] };
        expect(extensions).toEqual(
          expect.arrayContaining(["model_configuration", "parameters", "statistics"]),
        );
        expect(extensions).not.toEqual(expect.arrayContaining(["system_shared_memory"]));
        expect(extensions).not.toEqual(expect.arrayContaining(["logging"]));
      },
    },
  },
  {
    id: "R5a",
    title: "metadata of a model, the batch dim included",
    request: { path: "/v2/models/affine" },
    expect: {
      status: 200,
      json: {
        name: "affine",
        versions: ["1", "2"],
        platform: "onnx_onnxv1",
        inputs: [{ name: "x", datatype: "FP32", shape: [-1, 3] }],
        outputs: [{ name: "y", datatype: "FP32", shape: [-1, 3] }, { name: "z" }],
      },
    },
  },
  {
    id: "R5b",
    title: "metadata of a version",
    request: { path: "/v2/models/affine/versions/1" },
    expect: { status: 200, json: { name: "affine", properties: { digest: "sha256:affine1" } } },
  },
  {
    id: "R5c",
    title: "every datatype has its name of the protocol",
    request: { path: "/v2/models/types" },
    expect: {
      status: 200,
      also: ({ json }) => {
        const { inputs } = json as { inputs: { name: string; datatype: string }[] };
        for (const { name, datatype } of inputs) expect(name).toBe(`in_${datatype}`);
      },
    },
  },
  {
    id: "R9a",
    title: "an address that is not there",
    request: { path: "/v3" },
    expect: { status: 404, error: /nothing at \/v3/ },
  },
  missing("R9b", "the logging extension is not there", "/v2/logging"),
  missing("R9c", "the trace extension is not there", "/v2/trace/setting"),
  missing("R9d", "shared memory is not there", "/v2/systemsharedmemory/status"),
  missing("R9e", "an address below a model that is not there", "/v2/models/affine/generate"),
  {
    id: "R9f",
    title: "the error of a very long address is short",
    request: { path: `/v2/models/${"a".repeat(3000)}` },
    expect: { status: 414, also: ({ bytes }) => expect(bytes.byteLength).toBeLessThan(600) },
  },
  {
    id: "X1a",
    title: "the names of all models, as KServe lists them",
    request: { path: "/v2/models" },
    expect: { status: 200, json: { models: expect.arrayContaining(["affine", "types"]) } },
  },
  {
    id: "X2a",
    title: "the configuration of a model",
    request: { path: "/v2/models/affine/config" },
    expect: {
      status: 200,
      json: {
        name: "affine",
        backend: "onnxruntime",
        max_batch_size: expect.any(Number),
        input: [{ name: "x", data_type: "TYPE_FP32", optional: false }],
        model_transaction_policy: { decoupled: false },
      },
    },
  },
  {
    id: "X2b",
    title: "the configuration of a version",
    request: { path: "/v2/models/affine/versions/2/config" },
    expect: { status: 200, json: { name: "affine" } },
  },
  missing("X2c", "the configuration of a model that is not there", "/v2/models/none/config"),
  wrongVerb("X2d", "POST", "/v2/models/affine/config", "GET"),
  {
    id: "X3a",
    title: "statistics of all models",
    request: { path: "/v2/models/stats" },
    expect: { status: 200, json: { model_stats: expect.any(Array) } },
  },
  {
    id: "X3b",
    title: "statistics of a model",
    request: { path: "/v2/models/affine/stats" },
    expect: { status: 200, json: { model_stats: expect.any(Array) } },
  },
  missing("X3c", "statistics of a model that is not there", "/v2/models/none/stats"),
];
