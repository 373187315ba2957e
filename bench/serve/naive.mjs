// The server that one writes in an hour: node:http, JSON, `session.run` on the same thread; it checks nothing.
// naive.mjs MODEL

import { createServer } from "node:http";
import ort from "onnxruntime-node";
import { answerTasks } from "./tasks.mjs";

const options = { intraOpNumThreads: 1, interOpNumThreads: 1 };
const session = await ort.InferenceSession.create(process.argv[2], options);

const server = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", async () => {
    const { inputs } = JSON.parse(Buffer.concat(chunks).toString());
    const feeds = {};
    for (const { name, shape, data } of inputs) {
      feeds[name] = new ort.Tensor("float32", Float32Array.from(data), shape);
    }
    const found = await session.run(feeds);
    const outputs = Object.entries(found).map(([name, { dims, data }]) => ({
      name,
      datatype: "FP32",
      shape: dims,
      data: Array.from(data),
    }));
    const body = JSON.stringify({ model_name: "m", outputs });
    response.setHeader("content-type", "application/json");
    response.setHeader("content-length", Buffer.byteLength(body));
    response.end(body);
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
answerTasks({ where: () => `http://127.0.0.1:${server.address().port}` });
