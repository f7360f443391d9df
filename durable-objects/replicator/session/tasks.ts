import type { SourceLag } from '../../../sources/source.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'
import { betweenTransactions } from '../ingest/between-transactions.ts'
import { repairAfterOlderRelease } from '../verify/after-older-release.ts'
import type { SessionAccess } from '../verify/session-access.ts'
import type { PlanSwitch } from './plan-switch.ts'
import type { SessionMarks } from './session-marks.ts'
import type { SessionParts } from './session-parts.ts'
import type { SessionState } from './session-state.ts'

/**
 * What a step came to. `idle`: nothing more can be done now. `busy`: there is more to do soon, so the next round
 * follows without a long pause. `finished`: the session is over.
 */
export type StepOutcome = 'idle' | 'busy' | 'finished'

/** Something that a session does when its turn comes. */
export interface Task {
  readonly name: string
  /** Returns whether there is something to do now. Changes nothing. */
  isDue(): boolean
  /** Does a part of it, which is bounded unless other tasks have to wait for it anyway. */
  step(round: Round): StepOutcome | Promise<StepOutcome>
}

/** All tasks, one after the other. */
export interface Round {
  readonly number: number
  /** A task before this one was busy. */
  readonly isBusy: boolean
}

export interface TaskPorts {
  parts: SessionParts
  settings: ReplicationSettings
  state: SessionState
  marks: Pick<SessionMarks, 'emit'>
  planSwitch: Pick<PlanSwitch, 'run'>
  session: SessionAccess
  /** Copies all that is to be copied, and reads rows that lack values. */
  copy(): Promise<void>
  /** Reads tables for a comparison, as far as it has not read them. */
  compareTables(): Promise<void>
  /** Returns what comes after the stored position, or null when it is not known. */
  lag(): SourceLag | null
  isLive(): boolean
  /** The session is settled. */
  settled(): Promise<void>
}

/** Every tenth round asks whether a heartbeat would help. */
const HEARTBEAT_ROUNDS = 10

/**
 * The tasks of a session in their order, which is what decides when two are due: nothing is compared while rows are
 * copied, and nobody tidies during a comparison.
 */
export const sessionTasks = (ports: TaskPorts): Task[] => [
  copyTask(ports),
  holdTask(ports),
  switchTask(ports),
  retireTask(ports),
  dropTask(ports),
  fenceTask(ports),
  repairTask(ports),
  verifyTask(ports),
  tidyTask(ports),
  settleTask(ports),
  closeTask(ports),
  reportTask(ports),
  heartbeatTask(ports),
]

const copyTask = ({ parts, copy }: TaskPorts): Task => ({
  name: 'copy',
  isDue: () => parts.store.tables.copying || parts.store.tables.hasIncomplete,
  async step(): Promise<StepOutcome> {
    await copy()
    return 'idle'
  },
})

/** Clients get what was compared as soon as it is a state of the source. */
const holdTask = ({ parts: { committer } }: TaskPorts): Task => ({
  name: 'hold',
  isDue: () => true,
  step() {
    committer.endHold()
    committer.tellComparing()
    return 'idle'
  },
})

const switchTask = ({ parts: { store, deploys }, planSwitch }: TaskPorts): Task => ({
  name: 'switch',
  isDue: () => deploys.next !== null && !store.tables.copying,
  async step(): Promise<StepOutcome> {
    const { next } = deploys
    if (next !== null) await planSwitch.run(next)
    return 'idle'
  },
})

/** A plan that nobody needs any more is dropped by the next session. */
const retireTask = ({ parts: { deploys }, settings, state }: TaskPorts): Task => ({
  name: 'retire',
  isDue: () => deploys.due(settings.retireGraceSeconds),
  step() {
    state.restartAfterRound()
    return 'idle'
  },
})

const dropTask = ({ parts: { drops } }: TaskPorts): Task => ({
  name: 'drop',
  isDue: () => drops.pending,
  step: () => drops.step(),
})

/** Buckets that lacked ops and answer again are compared. */
const fenceTask = ({ parts: { fencing } }: TaskPorts): Task => ({
  name: 'fence',
  isDue: () => true,
  step() {
    fencing.compare()
    return 'idle'
  },
})

/** After an older release has run on this storage, everything is compared and repaired. */
const repairTask = ({ parts: { store, verification }, state }: TaskPorts): Task => ({
  name: 'repair',
  isDue: () => state.isSettled,
  step() {
    repairAfterOlderRelease(store, verification)
    return 'idle'
  },
})

/** A comparison that somebody has asked for, while nothing else is under way. */
const verifyTask = ({ parts: { store, deploys, verification }, state, session, compareTables }: TaskPorts): Task => ({
  name: 'verify',
  isDue: () => state.isSettled && verification.running && deploys.next === null && !state.mustRestart,
  async step(): Promise<StepOutcome> {
    const { tables } = store
    // They are copied first.
    if (tables.copying || tables.hasIncomplete) return 'busy'
    if (verification.readsTables) {
      await compareTables()
      return 'busy'
    }
    const outcome = await verification.steps(session)
    if (verification.isBudgetUsed) state.restartAfterRound()
    return outcome
  },
})

/** Buckets that nobody uses are removed, while nothing else is under way. */
const tidyTask = ({ parts: { store, deploys, verification, tidying }, state, session }: TaskPorts): Task => ({
  name: 'tidy',
  isDue() {
    const { tables } = store
    if (!state.isSettled || !tidying.pending || session.isOver()) return false
    return !verification.running && deploys.next === null && !tables.copying && !tables.hasIncomplete
  },
  async step(): Promise<StepOutcome> {
    const outcome = await tidying.step((change, stored) => betweenTransactions(session, change, stored))
    if (tidying.isBudgetUsed) state.restartAfterRound()
    return outcome
  },
})

const settleTask = ({ parts: { committer }, state, settled }: TaskPorts): Task => ({
  name: 'settle',
  isDue: () => !state.isSettled && state.isCaughtUp && !committer.mustDelayWrites,
  async step(): Promise<StepOutcome> {
    state.settle()
    await settled()
    return 'idle'
  },
})

/** Ends the session when there is nothing left to do and no client is connected. */
const closeTask = ({ parts, settings, state, marks, isLive }: TaskPorts): Task => ({
  name: 'close',
  isDue() {
    const { store, committer, drops, verification } = parts
    if (!state.isCaughtUp || state.mustRestart || !committer.isIdle) return false
    return !drops.pending && !verification.running && store.fences.answering.length === 0
  },
  async step({ isBusy }): Promise<StepOutcome> {
    if (isBusy || state.isWanted(isLive(), settings.lingerSeconds * 1_000)) return 'idle'
    if (state.tryToClose() === 'closing') return 'finished'
    await marks.emit('session')
    return 'idle'
  },
})

const reportTask = ({ parts: { store } }: TaskPorts): Task => ({
  name: 'report',
  isDue: () => true,
  step() {
    store.diagnostics.tick()
    return 'idle'
  },
})

/** Others have written much since our last mark: acknowledging another one lets the source free that. */
const heartbeatTask = ({ marks, lag }: TaskPorts): Task => ({
  name: 'heartbeat',
  isDue: () => true,
  async step({ number }): Promise<StepOutcome> {
    if (number % HEARTBEAT_ROUNDS === HEARTBEAT_ROUNDS - 1 && lag()?.nudge) await marks.emit('heartbeat')
    return 'idle'
  },
})
