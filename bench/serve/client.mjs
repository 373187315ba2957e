// The client of the serving benchmark, in a process of its own. Bodies come as base64.

import grpc from "@grpc/grpc-js";
import { arrivals, segmentsOf } from "../../dist/drill/load/arrivals.js";
import { loadReport } from "../../dist/drill/load/report.js";
import { Connection, requestBytes } from "./http-client.mjs";
import { answerTasks } from "./tasks.mjs";

const bytesOf = (base64) => Buffer.from(base64, "base64");
const asIs = (bytes) => bytes;
const grpcClients = new Map();
const connections = new Map();
const traffics = new Map();

/** One request and its answer: what an echo is to send. */
async function once({ url, method, body, headers }) {
  const connection = new Connection(url);
  const found = await connection.ask(requestBytes(url, bytesOf(body), headers, method), true);
  connection.close();
  const length = /\r\ninference-header-content-length: *(\d+)/.exec(connection.head ?? "")?.[1];
  return { status: found.status, body: found.body.toString("base64"), headerLength: length };
}

function grpcCall(target, body) {
  let client = grpcClients.get(target);
  if (client === undefined) {
    client = new grpc.Client(target, grpc.credentials.createInsecure(), {
      "grpc.max_receive_message_length": -1,
    });
    grpcClients.set(target, client);
  }
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      "/inference.GRPCInferenceService/ModelInfer",
      asIs,
      asIs,
      body,
      (error, answer) => (error ? reject(error) : resolve(answer)),
    );
  });
}

/** Requests one after another; microseconds of each. */
async function sequence({ transport, url, body, headers, count, warm }) {
  const bytes = bytesOf(body);
  let ask;
  if (transport === "grpc") ask = () => grpcCall(url, bytes);
  else {
    const connection = connections.get(url) ?? new Connection(url);
    connections.set(url, connection);
    const whole = requestBytes(url, bytes, headers);
    ask = async () => {
      const status = await connection.ask(whole);
      if (status !== 200) throw new Error(`status ${status}`);
    };
  }
  for (let i = 0; i < warm; i++) await ask();
  const times = new Array(count);
  for (let i = 0; i < count; i++) {
    const from = performance.now();
    await ask();
    times[i] = (performance.now() - from) * 1000;
  }
  return times;
}

async function grpcOnce({ url, body }) {
  return (await grpcCall(url, bytesOf(body))).toString("base64");
}

/** So many connections, each of which asks again once it is answered. */
async function closed({ url, body, headers, connections: count, seconds, requests = Infinity }) {
  const whole = requestBytes(url, bytesOf(body), headers);
  const statuses = {};
  const times = [];
  const from = performance.now();
  const until = from + seconds * 1000;
  let left = requests;
  const one = async () => {
    const connection = new Connection(url);
    for (let at = performance.now(); at < until && left-- > 0; ) {
      const status = await connection.ask(whole);
      const now = performance.now();
      times.push(now - at);
      at = now;
      statuses[status] = (statuses[status] ?? 0) + 1;
    }
    connection.close();
  };
  await Promise.all(Array.from({ length: count }, one));
  return { statuses, seconds: (performance.now() - from) / 1000, times };
}

/**
 * Sends each request at its time as `skipway load` does, by connections that cost less: this client has half of a
 * processor, and who sends twice what the server carries has to be quick.
 */
async function sendAt(times, { url, bytes, connectionsMax }) {
  const free = [];
  const waiting = [];
  const latencies = new Float64Array(times.length).fill(Number.NaN);
  const lateness = new Float64Array(times.length);
  const statuses = new Uint16Array(times.length);
  const start = performance.now();
  let opened = 0;
  let answered = 0;
  let finish;
  const done = new Promise((resolve) => {
    finish = resolve;
  });
  const sendOne = (i, connection) => {
    const from = start + times[i];
    lateness[i] = Math.max(0, performance.now() - from);
    connection.ask(bytes).then((status) => {
      latencies[i] = performance.now() - from;
      statuses[i] = status;
      const next = waiting.shift();
      if (next === undefined) free.push(connection);
      else sendOne(next, connection);
      answered++;
      if (answered === times.length) finish();
    });
  };
  const opens = () => (opened++ < connectionsMax ? new Connection(url) : undefined);
  let sent = 0;
  const sendDue = () => {
    for (; sent < times.length && times[sent] <= performance.now() - start + 0.5; sent++) {
      const connection = free.pop() ?? opens();
      if (connection === undefined) waiting.push(sent);
      else sendOne(sent, connection);
    }
    const pause = times[sent] - (performance.now() - start);
    if (sent < times.length) setTimeout(sendDue, Math.max(1, Math.floor(pause)));
  };
  sendDue();
  await done;
  for (const connection of free) connection.close();
  const seconds = (performance.now() - start) / 1000;
  return { latencies, lateness, statuses, failures: new Map(), seconds, sent: times.length };
}

/** Requests at times drawn beforehand. */
async function open({ url, body, headers, rate, seconds, connectionsMax, deadlineMs, seed }) {
  const times = arrivals(segmentsOf({ kind: "steady", rate }, seconds), {
    spread: "poisson",
    seed,
  });
  const bytes = requestBytes(url, bytesOf(body), headers);
  const result = await sendAt(times, { url, bytes, connectionsMax });
  let inTime = 0;
  let late = 0;
  for (const [i, status] of result.statuses.entries()) {
    if (status !== 200) continue;
    // From when it was really sent: how late the generator was is no fault of the server.
    if (result.latencies[i] - result.lateness[i] <= deadlineMs) inTime++;
    else late++;
  }
  const { slices: _, ...report } = loadReport({ arrivals: times }, result, seconds);
  return { ...report, inTime, late };
}

/** Connections that ask one request after another, with a pause, until `stopTraffic` or the time of day `untilMs`. */
function startTraffic({
  key,
  url,
  body,
  headers,
  connections: count,
  pauseMs,
  untilMs = Infinity,
}) {
  const whole = requestBytes(url, bytesOf(body), headers);
  const traffic = { on: true, untilMs, statuses: {}, failedAt: [], times: [], done: undefined };
  traffics.set(key, traffic);
  const one = async () => {
    const connection = new Connection(url);
    while (traffic.on && Date.now() < traffic.untilMs) {
      const [from, begunMs] = [performance.now(), Date.now()];
      const status = await connection.ask(whole);
      traffic.statuses[status] = (traffic.statuses[status] ?? 0) + 1;
      if (status === 200) traffic.times.push(performance.now() - from);
      else traffic.failedAt.push({ begunMs, atMs: Date.now(), status });
      await new Promise((resolve) => setTimeout(resolve, status === 200 ? pauseMs : 5));
    }
    connection.close();
  };
  traffic.done = Promise.all(Array.from({ length: count }, one));
}

/** Traffic that goes on ends at this time of day. */
function endTraffic({ key, untilMs }) {
  traffics.get(key).untilMs = untilMs;
}

async function stopTraffic({ key }) {
  const traffic = traffics.get(key);
  traffic.on = false;
  await traffic.done;
  const { statuses, failedAt, times } = traffic;
  return { statuses, failedAt, times };
}

/** Requests that are cut off before their answer. */
async function cutOff({ url, body, headers, count }) {
  const whole = requestBytes(url, bytesOf(body), headers);
  for (let i = 0; i < count; i++) {
    const connection = new Connection(url);
    const asked = connection.ask(whole);
    await new Promise((resolve) => setTimeout(resolve, 8));
    connection.close();
    await asked;
  }
}

answerTasks({
  once,
  sequence,
  grpcOnce,
  closed,
  open,
  startTraffic,
  endTraffic,
  stopTraffic,
  cutOff,
});
