// ModelInferResponse of the Open Inference Protocol over gRPC, put together from pieces: the elements of a tensor
// are copied once.

import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { limits } from "../base/limits.ts";
import type { Tensor } from "../graph/tensor.ts";
import { datatypeOf } from "./datatype.ts";
import { contentsOf, fitsContents } from "./grpc-contents.ts";

/** An answer of a model. */
export interface GrpcInferAnswer {
  readonly model: string;
  readonly version: number;
  /** Empty where the request had none. */
  readonly id: string;
  readonly outputs: ReadonlyMap<string, Tensor>;
  /** Outputs as raw bytes; else as typed contents, if all of them can stand there. */
  readonly raw: boolean;
}

/** The bytes of a ModelInferResponse. */
export function encodeInferResponse(answer: GrpcInferAnswer): Buffer {
  return Buffer.concat(piecesOf(answer, false));
}

/** The bytes of a ModelStreamInferResponse with an answer. */
export function encodeStreamAnswer(answer: GrpcInferAnswer): Buffer {
  const pieces = piecesOf(answer, true);
  const length = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
  const head = new BinaryWriter().tag(2, WireType.LengthDelimited).uint32(length).finish();
  return Buffer.concat([head, ...pieces]);
}

/** The bytes of a ModelStreamInferResponse for a request that failed; its id tells which. */
export function encodeStreamError(message: string, request: { model: string; id: string }): Buffer {
  const writer = new BinaryWriter().tag(1, WireType.LengthDelimited).string(message);
  writer.tag(2, WireType.LengthDelimited).fork();
  writer.tag(1, WireType.LengthDelimited).string(request.model);
  if (request.id !== "") writer.tag(3, WireType.LengthDelimited).string(request.id);
  return Buffer.from(writer.join().finish());
}

/** Whether an answer would be too much work as typed contents; raw ones have no such bound. */
export function tooLongForContents(outputs: ReadonlyMap<string, Tensor>): boolean {
  let count = 0;
  for (const { shape } of outputs.values()) count += shape.reduce((a, b) => a * b, 1);
  return count > limits.responseElementsMax;
}

function piecesOf({ outputs, ...answer }: GrpcInferAnswer, streamed: boolean): Uint8Array[] {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.LengthDelimited).string(answer.model);
  writer.tag(2, WireType.LengthDelimited).string(String(answer.version));
  if (answer.id !== "") writer.tag(3, WireType.LengthDelimited).string(answer.id);
  if (streamed) finalAnswer(writer);
  const typed = !answer.raw && [...outputs.values()].every(({ dtype }) => fitsContents(dtype));
  const pieces: Uint8Array[] = [];
  for (const [name, value] of outputs) {
    writer.tag(5, WireType.LengthDelimited).fork();
    writer.tag(1, WireType.LengthDelimited).string(name);
    writer.tag(2, WireType.LengthDelimited).string(datatypeOf(value.dtype));
    if (value.shape.length > 0) {
      writer.tag(3, WireType.LengthDelimited).fork();
      for (const dim of value.shape) writer.int64(dim);
      writer.join();
    }
    if (typed) writer.tag(5, WireType.LengthDelimited).bytes(contentsOf(value));
    writer.join();
  }
  pieces.push(writer.finish());
  if (typed) return pieces;
  for (const { data } of outputs.values()) {
    const { bytes } = data;
    const head = new BinaryWriter().tag(6, WireType.LengthDelimited).uint32(bytes.byteLength);
    pieces.push(head.finish(), bytes);
  }
  return pieces;
}

/** Triton's clients end a request of a stream by this parameter; every request here has one answer. */
function finalAnswer(writer: BinaryWriter): void {
  writer.tag(4, WireType.LengthDelimited).fork();
  writer.tag(1, WireType.LengthDelimited).string("triton_final_response");
  writer.tag(2, WireType.LengthDelimited).fork().tag(1, WireType.Varint).bool(true).join();
  writer.join();
}
