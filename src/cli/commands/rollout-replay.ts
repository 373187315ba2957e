// `skipway rollout replay ID`: judges a rollout once more from the certificates that it left behind, in a store or on a
// server. They are evidence: what is damaged or missing is told, and never taken for a good one.

import type { Command } from "commander";
import { diagnostic } from "../../base/diagnostic.ts";
import { SkipwayError } from "../../base/errors.ts";
import { printable } from "../../base/printable.ts";
import { RolloutStore } from "../../registry/rollouts.ts";
import {
  type DecidedRecord,
  missingOf,
  type Replayed,
  replayed,
} from "../../rollout/certificate.ts";
import type { CommonOptions, Io } from "../io.ts";
import { addRemote, askServer, fieldOf, type RemoteOptions } from "../remote.ts";
import { EXIT } from "../render/findings.ts";
import { storeFolder } from "../stored.ts";
import { packageVersion } from "../version.ts";

interface ReplayOptions extends CommonOptions, RemoteOptions {
  readonly data?: string;
}

/** What lies in the place of a certificate. */
interface Kept {
  readonly decision: string;
  readonly atMs: number | null;
  readonly document: unknown;
}

/** What a rollout left behind. */
interface Left {
  readonly certificates: readonly Kept[];
  /** As a sentence what is not there, or cannot be known to be. */
  readonly missing: readonly string[];
}

/** More than any rollout has. */
const EVENTS_MAX = 100_000;
const WRITING_MS = 1000;

/** Adds the part of the command. */
export function addReplay(rollout: Command, io: Io): void {
  addRemote(rollout.command("replay"))
    .description("judges once more from the certificates, and says where the verdict differs")
    .argument("<id>", "the rollout")
    .option("--data <dir>", "reads them from skipway's own folder instead of a server")
    .option("--json", "print one JSON document")
    .option("--quiet", "only the result")
    .addHelpText(
      "after",
      "\nExample:\n  $ skipway rollout replay 91b2c4d5e6f70812 --data .skipway\n",
    )
    .action((id: string, options: ReplayOptions) => replay(io, id, options));
}

async function replay(io: Io, id: string, options: ReplayOptions): Promise<void> {
  const { data } = options;
  const { certificates, missing } =
    data === undefined ? await leftOnServer(id, options) : await leftInStore(id, data);
  const found = certificates.map(({ decision, atMs, document }) => ({
    decision,
    atMs,
    build: optionalField(document, "build"),
    ...judged(id, decision, document),
  }));
  const same = missing.length === 0 && found.every((one) => one.same);
  if (!same) process.exitCode = EXIT.check;
  if (options.json === true) {
    const head = { schema: "skipway.rollout-replay/1", rollout: id, same, missing };
    io.out(`${JSON.stringify({ ...head, certificates: found }, null, 2)}\n`);
    return;
  }
  const lines = found.flatMap(({ decision, same: equal, verdict, differences, build }) => [
    `${printable(decision)}: ${verdict?.verdict ?? "not judged"}, ${equal ? "the same bits" : "not the same"}`,
    ...differences.map((text) => `  ${printable(text)}`),
    // Another version may judge otherwise.
    ...(equal || typeof build !== "string" || build === packageVersion()
      ? []
      : [`  skipway ${printable(build)} wrote it, and this is ${packageVersion()}`]),
  ]);
  const gaps = missing.map((text) => `missing: ${printable(text)}`);
  io.out(`${[...lines, ...gaps].join("\n")}\n`);
}

/** A certificate that is whole may have been put in the place of another one. */
function judged(id: string, decision: string, document: unknown): Replayed {
  const found = replayed(document);
  const own =
    optionalField(document, "rollout") === id && optionalField(document, "decision") === decision;
  if (!found.same || own) return found;
  const differences = ["it is the certificate of another decision, put in the place of this one"];
  return { ...found, same: false, differences };
}

async function leftOnServer(id: string, options: ReplayOptions): Promise<Left> {
  const first = await askedOf(id, options);
  if (first.missing.length === 0) return first;
  // What has just been decided is being written down.
  await new Promise((done) => setTimeout(done, WRITING_MS));
  return askedOf(id, options);
}

async function askedOf(id: string, options: ReplayOptions): Promise<Left> {
  const path = `rollouts/${encodeURIComponent(id)}`;
  const record = recordOf(await askServer(options, "GET", path));
  const listed = fieldOf(await askServer(options, "GET", `${path}/certificate`), "certificates");
  const certificates = (Array.isArray(listed) ? listed : []).map((document: unknown): Kept => {
    const atMs = optionalField(document, "atMs");
    const decision = String(optionalField(document, "decision") ?? "unknown");
    return { decision, atMs: typeof atMs === "number" ? atMs : null, document };
  });
  return left(id, certificates, record);
}

async function leftInStore(id: string, folder: string): Promise<Left> {
  await using store = await RolloutStore.openToRead(storeFolder(folder));
  const rows = await store.certificates(id);
  const certificates = rows.map(({ decision, atMs, document }) => {
    return { decision, atMs, document: parsed(document) };
  });
  const row = await store.rollout(id);
  if (row === undefined && rows.length === 0) throw undecided(id);
  const events = await store.events(id, EVENTS_MAX);
  const state = optionalField(parsed(row?.document ?? ""), "state");
  const kinds = events.map(({ document }) => parsed(document));
  const record = recordOf({ ...Object(state), events: kinds });
  return left(id, certificates, record);
}

/** @throws SkipwayError `input` where nothing was decided, and nothing is missing. */
function left(id: string, certificates: readonly Kept[], record: DecidedRecord | undefined): Left {
  const decisions = certificates.map(({ decision }) => decision);
  if (record === undefined) {
    const text = "the record of the rollout, so that nobody knows which certificates there were";
    return { certificates, missing: [text] };
  }
  const missing = missingOf(record, decisions);
  if (certificates.length === 0 && missing.length === 0) throw undecided(id);
  return { certificates, missing };
}

/** Of a document that may be damaged. */
function recordOf(document: unknown): DecidedRecord | undefined {
  const phase = optionalField(document, "phase");
  const step = optionalField(document, "step");
  const listed = optionalField(document, "events");
  if (typeof phase !== "string" || typeof step !== "number") return undefined;
  const events = (Array.isArray(listed) ? listed : []).map((one) =>
    String(optionalField(one, "kind")),
  );
  return { phase, step, events };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function optionalField(document: unknown, name: string): unknown {
  if (typeof document !== "object" || document === null) return undefined;
  return Object.entries(document).find(([key]) => key === name)?.[1];
}

function undecided(id: string): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "rollout/unknown",
      severity: "error",
      where: printable(id),
      text: "is no rollout of this folder that has decided anything",
      fix: "See which there are with: skipway rollout status.",
    }),
  ]);
}
