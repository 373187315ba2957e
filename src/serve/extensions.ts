// What the protocol says about the server and its models beside their answers: metadata and the configuration,
// statistics and repository extensions, as plain objects that REST sends and gRPC puts into its messages. Field
// names are those of the Triton server's extensions, which clients and load generators read.

import type { ValueType } from "../graph/graph.ts";
import { datatypeOf } from "../wire/datatype.ts";
import { protocolDims, type TensorMetadata, tensorMetadata } from "../wire/metadata.ts";
import type { Parameters } from "../wire/request.ts";
import { RequestError } from "./errors.ts";

/** What the descriptions need of a model version; `ServedVersion` has it. */
export interface DescribedModel {
  readonly name: string;
  readonly version: number;
  readonly digest: string;
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
  /** How its requests are put together; undefined where each runs by itself. */
  readonly batching?: BatchingSettings | undefined;
}

/** How requests of one version become batches. */
export interface BatchingSettings {
  /** Rows of the largest batch. */
  readonly rowsMax: number;
  /** How long the first request of a batch may wait for others, in microseconds. */
  readonly delayMaxUs: number;
}

/** Metadata of the server (Open Inference Protocol, "Server Metadata"). */
export interface ServerMetadata {
  readonly name: string;
  readonly version: string;
  readonly extensions: readonly string[];
}

/** Metadata of the server: only the extensions that work are listed. */
export function serverMetadata(version: string, has: { repository: boolean }): ServerMetadata {
  return {
    name: "skipway",
    version,
    extensions: [
      "binary_tensor_data",
      "classification",
      "model_configuration",
      ...(has.repository ? ["model_repository"] : []),
      "parameters",
      "schedule_policy",
      "statistics",
    ],
  };
}

/** Metadata of a model (Open Inference Protocol, "Model Metadata"). */
export interface ModelMetadata {
  readonly name: string;
  readonly versions: readonly string[];
  readonly platform: string;
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
  readonly properties: Readonly<Record<string, string>>;
}

/** Metadata of a version; `versions` are all that are served under its name. */
export function modelMetadata(model: DescribedModel, versions: readonly number[]): ModelMetadata {
  return {
    name: model.name,
    versions: versions.toSorted((a, b) => a - b).map(String),
    platform: "onnx_onnxv1",
    inputs: tensorMetadata(model.inputs),
    outputs: tensorMetadata(model.outputs),
    properties: { digest: model.digest },
  };
}

/** One input or output of a configuration. */
export interface TensorConfiguration {
  readonly name: string;
  /** `TYPE_FP32`, `TYPE_STRING`. */
  readonly data_type: string;
  /** Without the batch dim where there is a `max_batch_size`. */
  readonly dims: readonly number[];
}

/** The part of Triton's ModelConfig that means something here. */
export interface ModelConfiguration {
  readonly name: string;
  readonly platform: string;
  readonly backend: string;
  readonly version_policy: { readonly specific: { readonly versions: readonly number[] } };
  /** 0: shapes are taken as they are, and requests are not put together. */
  readonly max_batch_size: number;
  readonly input: readonly (TensorConfiguration & { readonly optional: boolean })[];
  readonly output: readonly TensorConfiguration[];
  readonly instance_group: readonly {
    readonly name: string;
    readonly kind: string;
    readonly count: number;
  }[];
  readonly dynamic_batching?: {
    readonly preferred_batch_size: readonly number[];
    readonly max_queue_delay_microseconds: number;
  };
  readonly model_transaction_policy: { readonly decoupled: boolean };
  readonly parameters: Readonly<Record<string, { readonly string_value: string }>>;
}

/** The configuration of a version, as Triton would write it. */
export function modelConfiguration(
  model: DescribedModel,
  versions: readonly number[],
): ModelConfiguration {
  const batched = model.batching !== undefined && rowsFirst(model);
  const skip = batched ? 1 : 0;
  const tensor = ([name, { dtype, shape }]: [string, ValueType]): TensorConfiguration => ({
    name,
    data_type: dtype === "string" ? "TYPE_STRING" : `TYPE_${datatypeOf(dtype)}`,
    dims: protocolDims(shape).slice(skip),
  });
  return {
    name: model.name,
    platform: "onnxruntime_onnx",
    backend: "onnxruntime",
    version_policy: { specific: { versions: versions.toSorted((a, b) => a - b) } },
    max_batch_size: batched ? (model.batching?.rowsMax ?? 0) : 0,
    input: [...model.inputs].map((one) => ({ ...tensor(one), optional: false })),
    output: [...model.outputs].map(tensor),
    instance_group: [{ name: model.name, kind: "KIND_CPU", count: 1 }],
    ...(batched && {
      dynamic_batching: {
        preferred_batch_size: [],
        max_queue_delay_microseconds: model.batching?.delayMaxUs ?? 0,
      },
    }),
    model_transaction_policy: { decoupled: false },
    parameters: { digest: { string_value: model.digest } },
  };
}

/** Whether the first dim of every input and output may vary: Triton's batch dim. */
function rowsFirst(model: DescribedModel): boolean {
  const all = [...model.inputs.values(), ...model.outputs.values()];
  return all.every(({ shape }) => typeof shape?.[0] === "string");
}

/** How often something happened, and how long all of it took together. */
export interface PhaseTotal {
  readonly count: number;
  readonly ms: number;
}

/** What a version has done since it was loaded. */
export interface VersionCounts {
  /** Milliseconds since the Unix epoch; undefined before the first request. */
  readonly lastInferenceMs: number | undefined;
  /** Rows answered. */
  readonly inferences: number;
  /** Runs of the model, each over a batch of rows. */
  readonly executions: number;
  readonly success: PhaseTotal;
  readonly fail: PhaseTotal;
  readonly queue: PhaseTotal;
  readonly computeInput: PhaseTotal;
  readonly computeInfer: PhaseTotal;
  readonly computeOutput: PhaseTotal;
  /** The runs by the rows of their batch. */
  readonly batches: readonly {
    readonly rows: number;
    readonly computeInput: PhaseTotal;
    readonly computeInfer: PhaseTotal;
    readonly computeOutput: PhaseTotal;
  }[];
}

/** Triton's StatisticDuration. */
export interface StatisticDuration {
  readonly count: number;
  readonly ns: number;
}

/** Triton's ModelStatistics. */
export interface ModelStatistics {
  readonly name: string;
  readonly version: string;
  /** Milliseconds since the Unix epoch; 0 before the first request. */
  readonly last_inference: number;
  readonly inference_count: number;
  readonly execution_count: number;
  readonly inference_stats: Readonly<Record<InferenceStatistic, StatisticDuration>>;
  readonly batch_stats: readonly {
    readonly batch_size: number;
    readonly compute_input: StatisticDuration;
    readonly compute_infer: StatisticDuration;
    readonly compute_output: StatisticDuration;
  }[];
}

/** The durations of `inference_stats`. There is no cache of answers: its two stay 0. */
export type InferenceStatistic =
  | "success"
  | "fail"
  | "queue"
  | "compute_input"
  | "compute_infer"
  | "compute_output"
  | "cache_hit"
  | "cache_miss";

/** The statistics of a version. */
export function modelStatistics(
  model: { readonly name: string; readonly version: number },
  counts: VersionCounts,
): ModelStatistics {
  const none = { count: 0, ns: 0 };
  return {
    name: model.name,
    version: String(model.version),
    last_inference: Math.round(counts.lastInferenceMs ?? 0),
    inference_count: counts.inferences,
    execution_count: counts.executions,
    inference_stats: {
      success: durationOf(counts.success),
      fail: durationOf(counts.fail),
      queue: durationOf(counts.queue),
      compute_input: durationOf(counts.computeInput),
      compute_infer: durationOf(counts.computeInfer),
      compute_output: durationOf(counts.computeOutput),
      cache_hit: none,
      cache_miss: none,
    },
    batch_stats: counts.batches.map((batch) => ({
      batch_size: batch.rows,
      compute_input: durationOf(batch.computeInput),
      compute_infer: durationOf(batch.computeInfer),
      compute_output: durationOf(batch.computeOutput),
    })),
  };
}

function durationOf({ count, ms }: PhaseTotal): StatisticDuration {
  return { count, ns: Math.round(ms * 1e6) };
}

/** A row of the repository's index: state and reason as Triton writes them. */
export interface IndexRow {
  readonly name: string;
  /** Empty where a model has no version yet. */
  readonly version: string;
  readonly state: "READY" | "LOADING" | "UNLOADING" | "UNAVAILABLE";
  /** Why it is not ready; empty where it is. */
  readonly reason: string;
}

/** The models that can be served, and what changes which of them are. */
export interface Repository {
  index(): readonly IndexRow[];
  /**
   * Loads a model, or loads it again; returns once it answers.
   *
   * @throws RequestError 404 for a name that is not there, 400 where it does not load, with the reason.
   */
  load(name: string, parameters: Parameters): Promise<void>;
  /**
   * Takes a model out of service; what is under way finishes.
   *
   * @throws RequestError 404 for a name that is not served.
   */
  unload(name: string, parameters: Parameters): Promise<void>;
}

/** The rows of an index that were asked for. */
export function indexRows(
  repository: Repository,
  options: { readonly ready: boolean },
): readonly IndexRow[] {
  const rows = repository.index();
  return options.ready ? rows.filter((row) => row.state === "READY") : rows;
}

/**
 * Refuses what Triton's load takes and a request may not bring here: files of a model, and another
 * configuration.
 *
 * @throws RequestError 400.
 */
export function refuseOverrides(parameters: Parameters): void {
  for (const name of parameters.keys()) {
    if (name === "config") {
      const text =
        "parameters.config: a configuration is not taken from a request; how a model is served follows from its file and the server's options";
      throw new RequestError(400, "invalid", text);
    }
    if (name.startsWith("file:")) {
      const text =
        'parameters "file:…": models are not uploaded with a load; add the model to the server\'s registry (skipway registry push), then load it by name';
      throw new RequestError(400, "invalid", text);
    }
  }
}
