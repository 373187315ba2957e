// An inference request as every form of the protocol gives it: JSON, JSON with binary tensors, gRPC.

import type { Diagnostic } from "../base/diagnostic.ts";
import type { Tensor } from "../graph/tensor.ts";

/** What a parameter may be; gRPC's 64-bit integers are bigints. */
export type ParameterValue = string | number | bigint | boolean;

/** Parameters of a request or of a call of the repository, by name. */
export type Parameters = ReadonlyMap<string, ParameterValue>;

/** An output that is asked for. */
export interface RequestedOutput {
  readonly name: string;
  /** Its bytes rather than JSON (binary tensor data extension). */
  readonly binary?: boolean | undefined;
  /** Its K largest elements as "value:index" (classification extension), from 1 up. */
  readonly classification?: number | undefined;
}

/**
 * What a client asks for. A string tensor has the protocol's BYTES form as its bytes: for each element its
 * length as u32 little-endian, then that many bytes.
 */
export interface InferRequest {
  readonly id: string | undefined;
  readonly inputs: ReadonlyMap<string, Tensor>;
  /** All outputs if undefined. Names differ from each other. */
  readonly outputs: readonly RequestedOutput[] | undefined;
  readonly parameters: Parameters;
}

/** A request, or all that is wrong with it. */
export type ParsedRequest =
  | { readonly request: InferRequest }
  | { readonly faults: readonly Diagnostic[] };
