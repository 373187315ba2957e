// What a person can do here, as plans: what will happen, in words, and the request that does it.

import type { ServingStatus, SplitStatus, VersionStatus } from "../../../src/dashboard/api.ts";

/** Something that is about to be done. */
export interface Plan {
  /** What the button says: `Reload digits`. */
  readonly title: string;
  /** What will happen. */
  readonly text: string;
  readonly method: "POST" | "PUT";
  readonly path: string;
  readonly body: unknown;
}

/** Loads a model again from where it came from. */
export function reloadPlan({ model }: VersionStatus): Plan {
  return {
    title: `Reload ${model}`,
    text: `${model} is loaded again from its source: a new process is loaded, warmed and asked its known question, and only then gets the requests. The process that answers now finishes what it has. If the load fails, it goes on.`,
    method: "POST",
    path: `/v2/repository/models/${encodeURIComponent(model)}/load`,
    body: {},
  };
}

/** Takes a version out of service, or the model with its only version. */
export function drainPlan(
  { model, version, role }: VersionStatus,
  { models }: Pick<ServingStatus, "models">,
): Plan {
  const others = models.filter((one) => one.model === model && one.version !== version);
  if (others.length === 0) {
    return {
      title: `Unload ${model}`,
      text: `${model} gets no more requests: they are refused with 404 until it is loaded again. What is under way is finished, then its process ends.`,
      method: "POST",
      path: `/v2/repository/models/${encodeURIComponent(model)}/unload`,
      body: {},
    };
  }
  const split =
    role === "stable"
      ? "It is the stable version, so the server will refuse: make another one stable first."
      : "The requests that it gets by the split go to the stable version.";
  return {
    title: `Drain ${model} version ${version}`,
    text: `Version ${version} gets no more requests. ${split} What is under way is finished, then its process ends. A reload of ${model} brings it back.`,
    method: "POST",
    path: `/api/v1/models/${encodeURIComponent(model)}/versions/${version}/drain`,
    body: {},
  };
}

/** Fields of the form for a split: texts, as they are typed. */
export interface SplitForm {
  readonly stable: string;
  /** Empty: none. */
  readonly candidate: string;
  /** Percent. */
  readonly percent: string;
  readonly shadow: string;
}

/** The form as it begins. For the row of another version than stable, that one is proposed as the candidate. */
export function splitForm(split: SplitStatus | undefined, { version }: VersionStatus): SplitForm {
  const stable = split?.stable ?? version;
  const candidate = split?.candidate ?? (version === stable ? null : version);
  return {
    stable: String(stable),
    candidate: candidate === null ? "" : String(candidate),
    percent: String(Number((100 * (split?.share ?? 0)).toFixed(2))),
    shadow: split?.shadow == null ? "" : String(split.shadow),
  };
}

/** Who gets which requests from now on. What is wrong with it, the server says. */
export function splitPlan(model: string, { stable, candidate, percent, shadow }: SplitForm): Plan {
  const share = candidate === "" ? 0 : Number(percent) / 100;
  const rest = Number((100 - 100 * share).toFixed(2));
  const main =
    candidate === ""
      ? `All requests for ${model} that name no version go to version ${stable}.`
      : `Of the requests for ${model} that name no version, ${percent} % go to version ${candidate} and ${rest} % to version ${stable}.`;
  const copies =
    shadow === "" ? "" : ` Copies go to version ${shadow}, whose answers nobody is sent.`;
  return {
    title: `Set the split of ${model}`,
    text: `${main}${copies} A move of the alias does not change it any more, until ${model} is unloaded.`,
    method: "PUT",
    path: `/api/v1/models/${encodeURIComponent(model)}/split`,
    body: {
      stable: Number(stable),
      share,
      ...(candidate !== "" && { candidate: Number(candidate) }),
      ...(shadow !== "" && { shadow: Number(shadow) }),
    },
  };
}

/** How an act ended. */
export interface Outcome {
  readonly ok: boolean;
  readonly text: string;
  /** The server wants to know who this is. */
  readonly signIn: boolean;
}

/** The outcome of a plan, from the server's answer. `error` is the text of a refusal. */
export function outcomeOf({ title }: Plan, status: number, error: string | undefined): Outcome {
  if (status < 400) return { ok: true, text: `${title}: done`, signIn: false };
  const text = `${title}: refused (${status}): ${error ?? "the server does not say why"}`;
  return { ok: false, text, signIn: status === 401 || status === 403 };
}
