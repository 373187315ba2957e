// The methods that answer one message with one: the Open Inference Protocol with Triton's extensions, and MLServer's
// service for the repository.

import { decodeInferRequest } from "../../wire/grpc-infer.ts";
import {
  encodeAnswer,
  readIndexRequest,
  readNamed,
  readRepositoryRequest,
} from "../../wire/grpc-messages.ts";
import { encodeInferResponse } from "../../wire/grpc-response.ts";
import { RequestError } from "../errors.ts";
import {
  indexRows,
  modelConfiguration,
  modelMetadata,
  type Repository,
  refuseOverrides,
  serverMetadata,
} from "../extensions.ts";
import { statisticsOf, versionsAsked } from "../http/oip-extensions.ts";
import { hostOf, type OipSource } from "../http/oip-source.ts";
import type { GrpcCall, UnaryMethod } from "./call.ts";
import { infer } from "./infer.ts";

/** The service of the protocol. */
export const INFERENCE_SERVICE = "inference.GRPCInferenceService";
/** Its inference, in single calls and in streams. */
export const INFER_PATH: string = `/${INFERENCE_SERVICE}/ModelInfer`;
export const STREAM_PATH: string = `/${INFERENCE_SERVICE}/ModelStreamInfer`;
/** MLServer has the repository in a service of its own. */
const REPOSITORY_SERVICE = "inference.model_repository.ModelRepositoryService";

/** Shared memory lets a client name memory of the server's machine: it is not offered (NVIDIA, CVE-2025-23319). */
const SHARED_MEMORY = ["System", "Cuda"].flatMap((kind) =>
  ["Status", "Register", "Unregister"].map((act) => `${kind}SharedMemory${act}`),
);

/** All methods by their path. */
export function unaryMethods(source: OipSource): ReadonlyMap<string, UnaryMethod> {
  const repository = repositoryMethods(source);
  const named: Record<string, UnaryMethod> = {
    ServerLive: () => encodeAnswer("ServerLive", { live: true }),
    ServerReady: () => encodeAnswer("ServerReady", { ready: source.ready() }),
    ServerMetadata: () => {
      const has = { repository: source.repository !== undefined };
      return encodeAnswer("ServerMetadata", serverMetadata(source.version, has));
    },
    ...modelMethods(source),
    ModelInfer: async (call) => {
      const request = decodeInferRequest(call.message);
      return encodeInferResponse(await infer(source, request, call, call.watch));
    },
    ...repository,
  };
  for (const name of SHARED_MEMORY) named[name] = noSharedMemory;
  return new Map([
    ...Object.entries(named).map(([name, method]) => pathed(INFERENCE_SERVICE, name, method)),
    ...Object.entries(repository).map(([name, method]) => pathed(REPOSITORY_SERVICE, name, method)),
  ]);
}

function pathed(service: string, name: string, method: UnaryMethod): [string, UnaryMethod] {
  return [`/${service}/${name}`, method];
}

function modelMethods(source: OipSource): Record<string, UnaryMethod> {
  return {
    // As Triton: a model that is not there is not ready, which is no error.
    ModelReady: ({ message }) => {
      const { name, version } = readNamed(message);
      return encodeAnswer("ModelReady", { ready: source.find(name, version)?.ready === true });
    },
    ModelMetadata: ({ message }) => {
      const host = hostOf(source, readNamed(message));
      return encodeAnswer("ModelMetadata", modelMetadata(host, source.versionsOf(host.name)));
    },
    ModelConfig: ({ message }) => {
      const host = hostOf(source, readNamed(message));
      const config = modelConfiguration(host, source.versionsOf(host.name));
      return encodeAnswer("ModelConfig", { config });
    },
    ModelStatistics: ({ message }) => {
      const { name, version } = readNamed(message);
      const hosts = name === "" ? source.all() : versionsAsked(source, { name, version });
      return encodeAnswer("ModelStatistics", statisticsOf(hosts));
    },
  };
}

function repositoryMethods(source: OipSource): Record<string, UnaryMethod> {
  return {
    RepositoryIndex: ({ message }) => {
      const models = indexRows(repositoryOf(source), readIndexRequest(message));
      return encodeAnswer("RepositoryIndex", { models });
    },
    RepositoryModelLoad: (call) => change(source, call, "load"),
    RepositoryModelUnload: (call) => change(source, call, "unload"),
  };
}

async function change(
  source: OipSource,
  { message }: GrpcCall,
  act: "load" | "unload",
): Promise<Buffer> {
  const repository = repositoryOf(source);
  const { model, dialect, parameters } = readRepositoryRequest(message);
  if (model === "") throw new RequestError(400, "invalid", "model_name: there is none");
  if (act === "load") refuseOverrides(parameters);
  await repository[act](model, parameters);
  const answer = dialect === "kserve" ? { model_name: model, done: true } : {};
  return encodeAnswer("RepositoryModel", answer);
}

function repositoryOf({ repository }: OipSource): Repository {
  if (repository !== undefined) return repository;
  const text = "this server's models are given when it starts; it has no repository";
  throw new RequestError(501, "invalid", text);
}

function noSharedMemory(): never {
  const text = "shared memory is not offered: send tensors in the message";
  throw new RequestError(501, "invalid", text);
}
