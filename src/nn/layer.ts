// What a layer is: a function from a value to a value that adds nodes and weights on the way. Anything of
// that form is a layer, ours or a user's own.

import type { ValueName } from "../graph/graph.ts";
import type { Net } from "./net.ts";
import { layerFault } from "./node-check.ts";

/** A part of a network. */
export interface Layer {
  /**
   * What weights and nodes of this layer are named after, such as `conv`. Empty: its parts are called as if
   * they stood where it stands.
   */
  readonly name: string;
  /** Adds the layer to the network that is being built; returns its output. */
  build(net: Net, x: ValueName): ValueName;
  /** Where it was written: findings name the line. */
  readonly origin?: Origin;
}

/** A place in a program. */
export interface Origin {
  /** `file:line:column`, or undefined where no line outside the builder called. */
  place(): string | undefined;
}

/**
 * A layer of one's own.
 *
 * @example
 * nn.layer("twice", (net, x) => net.emit("Add", [x, x]))
 */
export function layer(name: string, build: Layer["build"]): Layer {
  return { name, build, origin: new StackOrigin() };
}

/**
 * The same layer under another name, which its weights then have in their path.
 *
 * @example
 * nn.named("stage2", nn.sequential(nn.conv(64, 3), nn.relu())) // stage2.conv.weight
 */
export function named(name: string, inner: Layer): Layer {
  return {
    ...inner,
    name,
    build: (net, x) => {
      const fault = layerFault(inner);
      return fault === undefined ? inner.build(net, x) : net.fail(fault.id, fault.text, fault.fix);
    },
  };
}

const HERE = new URL(".", import.meta.url).href;

/** Frames looked at: a block is a few calls below the line that asked for it. */
const FRAMES_MAX = 16;

/** Keeps the stack as it is; the text is made only for a finding. */
class StackOrigin implements Origin {
  readonly #error: Error;

  constructor() {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = FRAMES_MAX;
    this.#error = new Error("origin");
    Error.stackTraceLimit = limit;
  }

  place(): string | undefined {
    for (const line of (this.#error.stack ?? "").split("\n").slice(1)) {
      const found = /\(?((?:file:\/\/)?[^()\s]+):(\d+):(\d+)\)?$/.exec(line);
      const [, file = "", row = "", column = ""] = found ?? [];
      const isOurs = file.startsWith(HERE) || file.startsWith(HERE.replace("file://", ""));
      if (found === null || file.startsWith("node:") || (isOurs && !isTest(file))) continue;
      return `${file.replace("file://", "")}:${row}:${column}`;
    }
    return undefined;
  }
}

/** Tests stand beside the layers, and write networks as users do. */
function isTest(file: string): boolean {
  return /\.test\.[jt]s$/.test(file);
}
