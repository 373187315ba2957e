// What a request may say about when it is served (schedule policy extension): until when its answer is of use, how
// urgent it is, and whose it is.

import { limits } from "../base/limits.ts";
import type { Parameters, ParameterValue } from "../wire/request.ts";
import { RequestError } from "./errors.ts";

type Header = string | readonly string[] | undefined;

/**
 * When the answer is of no use any more, in milliseconds of the clock of `arrivedMs`: the earliest of the parameter
 * `timeout` (microseconds, as in Triton) and the header `x-request-timeout-ms`; 0 is none in both. A request can only
 * shorten what the server would wait.
 *
 * @throws RequestError 400 for what is no time.
 */
export function deadlineOf(
  parameters: Parameters,
  header: Header,
  arrivedMs: number,
): number | undefined {
  const timeout = wholeNumber("timeout", parameters.get("timeout"), "microseconds") ?? 0;
  let shortest = timeout > 0 ? timeout / 1000 : Number.POSITIVE_INFINITY;
  if (header !== undefined) {
    const text = String(header);
    if (!/^\d{1,15}$/.test(text)) {
      const why = "x-request-timeout-ms is no whole number of milliseconds from 0 up";
      throw new RequestError(400, "invalid", why);
    }
    if (Number(text) > 0) shortest = Math.min(shortest, Number(text));
  }
  // Longer ones mean nothing: no request waits so long.
  return shortest > limits.requestTimeoutMsMax ? undefined : arrivedMs + shortest;
}

/**
 * The parameter `priority`: 1 is served first, 0 or none is the default.
 *
 * @throws RequestError 400 for what is no priority.
 */
export function priorityOf(parameters: Parameters): number | undefined {
  return wholeNumber("priority", parameters.get("priority"), "a level");
}

/** Who asks, by the parameter `key` or the header `x-skipway-key`: one key goes to one version of a split. */
export function keyOf(parameters: Parameters, header: Header): string | undefined {
  const key = parameters.get("key") ?? header;
  return key === undefined ? undefined : String(key).slice(0, 256);
}

function wholeNumber(
  name: string,
  value: ParameterValue | undefined,
  of: string,
): number | undefined {
  if (value === undefined) return undefined;
  const number = typeof value === "bigint" ? Number(value) : value;
  if (typeof number === "number" && Number.isInteger(number) && number >= 0) return number;
  throw new RequestError(400, "invalid", `parameters.${name}: is no whole number, ${of} from 0 up`);
}
