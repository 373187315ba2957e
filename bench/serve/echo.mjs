// A server on the libraries that ours stands on, which reads each request and sends the same bytes to all: what
// HTTP, gRPC, the sockets and the client take by themselves.

import grpc from "@grpc/grpc-js";
import fastify from "fastify";
import { answerTasks } from "./tasks.mjs";

const answers = new Map();
const app = fastify();
app.removeAllContentTypeParsers();
app.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
app.route({
  method: "POST",
  url: "/:name",
  bodyLimit: 2 ** 26,
  handler: (request, reply) => {
    const { type, headers, body } = answers.get(request.params.name);
    reply.type(type).headers(headers).send(body);
  },
});

let grpcAnswer = Buffer.alloc(0);
const server = new grpc.Server({ "grpc.max_receive_message_length": -1 });
const asIs = (bytes) => bytes;
const path = "/inference.GRPCInferenceService/ModelInfer";
server.addService(
  {
    ModelInfer: {
      path,
      requestStream: false,
      responseStream: false,
      requestSerialize: asIs,
      requestDeserialize: asIs,
      responseSerialize: asIs,
      responseDeserialize: asIs,
    },
  },
  { ModelInfer: (_call, done) => done(null, grpcAnswer) },
);

/** What it answers from now on; where it listens. */
async function set({ name, type, headers, body, grpcBody }) {
  if (name !== undefined) answers.set(name, { type, headers, body: Buffer.from(body, "base64") });
  if (grpcBody !== undefined) grpcAnswer = Buffer.from(grpcBody, "base64");
}

const address = await app.listen({ host: "127.0.0.1", port: 0 });
const port = await new Promise((resolve, reject) => {
  server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
    error ? reject(error) : resolve(bound),
  );
});

answerTasks({ set, where: () => ({ address, grpc: `127.0.0.1:${port}` }) });
