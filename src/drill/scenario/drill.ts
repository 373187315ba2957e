// One drill from beginning to end: a server of its own with a stable model, clients at a steady rate, a rollout of the
// candidate, the fault, and whoever watches.

import { type Clock, systemClock } from "../../base/clock.ts";
import { SkipwayError } from "../../base/errors.ts";
import type { Dataset } from "../../train/data.ts";
import { crash, flipBits, freeze } from "../faults/outside.ts";
import { DrilledServer, type Launch } from "./drilled-server.ts";
import { MODEL, type Stage, setStage } from "./material.ts";
import type { DrillRecord, Mark, SeenEvent } from "./record.ts";
import type { Material, Scenario } from "./scenario.ts";
import { Traffic } from "./traffic.ts";
import { Witness } from "./witness.ts";

/** What a drill is run with. */
export interface DrillParts {
  readonly material: Material & { readonly data: Dataset };
  readonly launch: Launch;
  readonly signal: AbortSignal;
  /** Told what the drill does, for people who wait. */
  onProgress(text: string): void;
}

const CANDIDATE = 2;
/** Answers of the candidate before something is done to it. */
const CANDIDATE_REQUESTS = 20;
/** Requests go on after the end: the last one to the candidate is to be seen. */
const AFTERWARDS_MS = 2000;
const DELIVERY_LIMIT_MS = 15_000;
const LOOK_MS = 100;

/** How a rollout ended, by the kinds of its events. */
const ENDS: ReadonlySet<string> = new Set(["rolled-back", "promoted", "failed", "aborted"]);

/** Runs a drill. @throws SkipwayError where it could not be run, `interrupted` on the signal. */
export async function runDrill(scenario: Scenario, parts: DrillParts): Promise<DrillRecord> {
  const { material, onProgress } = parts;
  const { data, stable } = material;
  const witness = new Witness(MODEL, systemClock);
  try {
    const webhooks = await witness.open();
    const candidate = scenario.candidate(material);
    await using stage = await setStage(data, { stable, candidate }, webhooks);
    onProgress("starting a server");
    const options = ["--versions", "stable", "--probe", "3", "--max-batch", "8"];
    await using server = await DrilledServer.start(parts.launch, stage.folder, options);
    await witness.follow(server.address);
    return await new Drill(scenario, { ...parts, stage, server, witness }).run();
  } finally {
    witness.close();
  }
}

interface Set extends DrillParts {
  readonly stage: Stage;
  readonly server: DrilledServer;
  readonly witness: Witness;
}

class Drill {
  readonly #scenario: Scenario;
  readonly #set: Set;
  readonly #clock: Clock = systemClock;
  readonly #traffic: Traffic;
  readonly #marks: Mark[] = [];
  readonly #startedMs: number;
  #injectedMs: number | null = null;

  constructor(scenario: Scenario, set: Set) {
    this.#scenario = scenario;
    this.#set = set;
    this.#startedMs = this.#clock.nowMs();
    const { data } = set.material;
    this.#traffic = new Traffic({
      server: set.server.address,
      model: MODEL,
      input: data.input,
      examples: data.train,
      rate: scenario.rate,
      seconds: scenario.limitSeconds + 60,
      labels: scenario.labels,
      clock: this.#clock,
    });
  }

  async run(): Promise<DrillRecord> {
    const { server, witness } = this.#set;
    const { policy, inject, limitSeconds, rate, warmUp } = this.#scenario;
    this.#traffic.start();
    try {
      this.#mark(`clients ask ${rate} times a second`);
      await this.#until(() => this.#traffic.answers.length >= warmUp, limitSeconds);
      if (inject === "corrupt") await this.#corrupt();
      this.#mark(`the rollout of version ${CANDIDATE} is ordered`);
      const order = { to: CANDIDATE, policy, override: "a drill", reason: "a drill" };
      await server.post(`/api/v1/models/${MODEL}/rollout`, order);
      if (inject === "crash" || inject === "freeze") await this.#strike(inject);
      await this.#until(() => this.#ended() !== undefined, limitSeconds);
      await this.#until(() => false, AFTERWARDS_MS / 1000);
    } finally {
      await this.#traffic.stop();
    }
    this.#mark("clients stop");
    const told = (): boolean => witness.events().every(({ deliveries }) => deliveries > 0);
    await witness.until(told, DELIVERY_LIMIT_MS);
    return {
      scenario: this.#scenario,
      startedMs: this.#startedMs,
      endedMs: this.#clock.nowMs(),
      candidate: CANDIDATE,
      marks: this.#marks,
      injectedMs: this.#injectedMs,
      events: witness.events(),
      answers: this.#traffic.answers,
      labelsRefused: this.#traffic.labelsRefused,
      end: await this.#end(),
      badSignatures: witness.badSignatures,
    };
  }

  #mark(text: string): void {
    this.#marks.push({ atMs: this.#clock.nowMs(), text });
    this.#set.onProgress(text);
  }

  #ended(): SeenEvent | undefined {
    return this.#set.witness.events().find(({ kind }) => ENDS.has(kind));
  }

  /** Waits, for so long at the most. */
  async #until(holds: () => boolean, seconds: number): Promise<void> {
    const endMs = this.#clock.monotonicMs() + 1000 * seconds;
    while (!holds() && this.#clock.monotonicMs() < endMs) {
      if (this.#set.signal.aborted) throw new SkipwayError("interrupted", "the drill was stopped");
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  async #corrupt(): Promise<void> {
    await flipBits(this.#set.stage.artifact);
    this.#mark("bits of the candidate's file are flipped on the disk");
  }

  /** Once the candidate answers clients. */
  async #strike(how: "crash" | "freeze"): Promise<void> {
    const answering = (): boolean => this.#traffic.answersOf(CANDIDATE) >= CANDIDATE_REQUESTS;
    const { limitSeconds } = this.#scenario;
    await this.#until(() => answering() || this.#ended() !== undefined, limitSeconds);
    const pid = pidOf(await this.#set.server.get("/api/v1/on-call"), CANDIDATE);
    if (pid === undefined) return;
    this.#injectedMs = this.#clock.nowMs();
    if (how === "crash") crash(pid);
    else freeze(pid);
    const what = how === "crash" ? "is killed" : "is stopped where it is";
    this.#mark(`the candidate's process, ${pid}, ${what}`);
  }

  async #end(): Promise<DrillRecord["end"]> {
    const event = this.#ended();
    if (event === undefined) return null;
    const document = await this.#set.server.get(`/api/v1/models/${MODEL}/rollout`);
    const requests = at(at(document, "verdict"), "candidateRequests");
    return {
      phase: event.kind,
      cause: event.cause,
      text: event.text,
      candidateRequests: typeof requests === "number" ? requests : null,
    };
  }
}

/** The process of a version, from the document of the page for who is on call. */
function pidOf(document: unknown, version: number): number | undefined {
  const models = at(at(document, "status"), "models");
  const found = Array.isArray(models) ? models.find((one) => at(one, "version") === version) : {};
  const pid = at(found, "pid");
  return typeof pid === "number" ? pid : undefined;
}

/** A field of a document of our own. */
function at(document: unknown, name: string): unknown {
  if (typeof document !== "object" || document === null) return undefined;
  return Object.entries(document).find(([key]) => key === name)?.[1];
}
