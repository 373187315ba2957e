// The small messages of the gRPC services: requests that name a model or a service, and answers from the plain
// objects that REST sends as JSON.

import { type DescMessage, fromJson, type JsonValue, toBinary } from "@bufbuild/protobuf";
import { WireType } from "@bufbuild/protobuf/wire";
import { bytesField, expectForm, FieldWalk, MalformedMessage, stringField } from "./grpc-reader.ts";
import { HealthCheckResponseSchema } from "./proto/health_pb.js";
import {
  ModelConfigResponseSchema,
  ModelMetadataResponseSchema,
  ModelReadyResponseSchema,
  ModelStatisticsResponseSchema,
  RepositoryIndexResponseSchema,
  RepositoryModelResponseSchema,
  ServerLiveResponseSchema,
  ServerMetadataResponseSchema,
  ServerReadyResponseSchema,
} from "./proto/oip_pb.js";
import type { Parameters, ParameterValue } from "./request.ts";

/** An answer, by the name of its message without "Response". */
type AnswerName =
  | `Server${"Live" | "Ready" | "Metadata"}`
  | `Model${"Ready" | "Metadata" | "Config" | "Statistics"}`
  | `Repository${"Index" | "Model"}`
  | "HealthCheck";

const ANSWERS: Readonly<Record<AnswerName, DescMessage>> = {
  ServerLive: ServerLiveResponseSchema,
  ServerReady: ServerReadyResponseSchema,
  ModelReady: ModelReadyResponseSchema,
  ServerMetadata: ServerMetadataResponseSchema,
  ModelMetadata: ModelMetadataResponseSchema,
  ModelConfig: ModelConfigResponseSchema,
  ModelStatistics: ModelStatisticsResponseSchema,
  RepositoryIndex: RepositoryIndexResponseSchema,
  RepositoryModel: RepositoryModelResponseSchema,
  HealthCheck: HealthCheckResponseSchema,
};

/**
 * The bytes of an answer, from an object with the names of its fields.
 *
 * @throws Error for an object with other fields: a defect of ours.
 */
export function encodeAnswer(name: AnswerName, fields: object): Buffer {
  const schema = ANSWERS[name];
  // What the extensions say is plain data, which is what JSON has.
  return Buffer.from(toBinary(schema, fromJson(schema, fields as JsonValue)));
}

/** A request whose first two fields are texts: the name of a model (or service) and a version. */
export interface NamedRequest {
  readonly name: string;
  /** undefined: none is named. */
  readonly version: string | undefined;
}

/** Reads what ModelReady, ModelMetadata, ModelConfig, ModelStatistics and the health service are asked. */
export function readNamed(message: Uint8Array): NamedRequest {
  return wellFormed(() => {
    const texts = ["", "", ""];
    new FieldWalk().each(message, (from, field, wireType) => {
      if (field !== 1 && field !== 2) return false;
      texts[field] = stringField(from, wireType);
      return true;
    });
    const [, name = "", version = ""] = texts;
    return { name, version: version === "" ? undefined : version };
  });
}

/** Whether an index shall have only the models that are ready. */
export function readIndexRequest(message: Uint8Array): { readonly ready: boolean } {
  return wellFormed(() => {
    let ready = false;
    new FieldWalk().each(message, (from, field, wireType) => {
      if (field !== 2) return false;
      expectForm(wireType, WireType.Varint);
      ready = from.bool();
      return true;
    });
    return { ready };
  });
}

/** A model that shall be loaded or unloaded, and in whose words that was asked. */
export interface RepositoryRequest {
  readonly model: string;
  readonly dialect: "triton" | "kserve";
  readonly parameters: Parameters;
}

/**
 * Triton has the name of a repository in the first field and that of the model in the second; KServe has the
 * model's name in the first and nothing else.
 */
export function readRepositoryRequest(message: Uint8Array): RepositoryRequest {
  return wellFormed(() => {
    const walk = new FieldWalk();
    const texts = ["", "", ""];
    const parameters = new Map<string, ParameterValue>();
    walk.each(message, (from, field, wireType) => {
      if (field === 3) {
        readParameter(walk, bytesField(from, wireType), parameters);
        return true;
      }
      if (field !== 1 && field !== 2) return false;
      texts[field] = stringField(from, wireType);
      return true;
    });
    const [, first = "", second = ""] = texts;
    return second === ""
      ? { model: first, dialect: "kserve", parameters }
      : { model: second, dialect: "triton", parameters };
  });
}

/** Bytes, which carry the files of a model, are taken for the name of their parameter alone. */
function readParameter(
  walk: FieldWalk,
  entry: Uint8Array,
  parameters: Map<string, ParameterValue>,
): void {
  let key = "";
  let value: ParameterValue = "";
  walk.each(entry, (from, field, wireType) => {
    if (field === 1) key = stringField(from, wireType);
    else if (field !== 2) return false;
    else {
      walk.each(bytesField(from, wireType), (inner, choice, form) => {
        if (choice === 3) value = stringField(inner, form);
        else if (choice > 2 || form !== WireType.Varint) return false;
        else value = choice === 1 ? inner.bool() : BigInt(inner.int64());
        return true;
      });
    }
    return true;
  });
  parameters.set(key, value);
}

/** @throws MalformedMessage also where the protobuf reader finds no message. */
function wellFormed<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof MalformedMessage || error instanceof TypeError) throw error;
    throw new MalformedMessage("is no message of its type");
  }
}
