// One connection of a client that speaks as much HTTP/1.1 as answers with a length need: on two cores a client that
// costs more than the server would be what is measured.

import { connect } from "node:net";

const HEAD_END = Buffer.from("\r\n\r\n");

/** The bytes of a request, made once. */
export function requestBytes(url, body, headers = {}, method = "POST") {
  const { host, pathname } = new URL(url);
  const all = { host, "content-length": body.byteLength, ...headers };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.concat([
    Buffer.from(`${method} ${pathname} HTTP/1.1\r\n${lines.join("")}\r\n`),
    body,
  ]);
}

/** A connection that is opened when it is needed, and again after it was closed. */
export class Connection {
  #url;
  #socket;
  #settle;
  #parts = [];
  #size = 0;
  #status = 0;
  #left = -1;
  #closes = false;

  constructor(url) {
    this.#url = new URL(url);
  }

  /** Sends a request; its status, or 0 where the connection broke before the whole answer, and the body if it is wanted. */
  ask(bytes, wantsBody = false) {
    return new Promise((resolve) => {
      this.#settle = (status) => {
        this.#settle = undefined;
        resolve(wantsBody ? { status, body: this.#body() } : status);
      };
      this.#parts = [];
      this.#size = 0;
      this.#left = -1;
      this.#open().write(bytes);
    });
  }

  close() {
    this.#socket?.destroy();
  }

  #open() {
    if (this.#socket !== undefined) return this.#socket;
    const socket = connect({
      host: this.#url.hostname,
      port: Number(this.#url.port),
      noDelay: true,
    });
    this.#socket = socket;
    socket.on("error", () => undefined);
    socket.on("close", () => {
      if (this.#socket === socket) this.#socket = undefined;
      this.#settle?.(0);
    });
    socket.on("data", (chunk) => this.#take(chunk));
    return socket;
  }

  #take(chunk) {
    this.#parts.push(chunk);
    this.#size += chunk.byteLength;
    if (this.#left < 0) {
      const bytes = this.#parts.length === 1 ? chunk : Buffer.concat(this.#parts);
      this.#parts = [bytes];
      const end = bytes.indexOf(HEAD_END);
      if (end < 0) return;
      const head = bytes.latin1Slice(0, end).toLowerCase();
      this.#status = Number(head.slice(9, 12));
      this.#closes = head.includes("\r\nconnection: close");
      const length = /\r\ncontent-length: *(\d+)/.exec(head)?.[1];
      this.#left = end + 4 + Number(length ?? 0);
      this.bodyFrom = end + 4;
      this.head = head;
    }
    if (this.#size < this.#left) return;
    if (this.#closes) {
      this.#socket?.destroy();
      this.#socket = undefined;
    }
    this.#settle?.(this.#status);
  }

  #body() {
    return this.#left < 0 ? Buffer.alloc(0) : Buffer.concat(this.#parts).subarray(this.bodyFrom);
  }
}
