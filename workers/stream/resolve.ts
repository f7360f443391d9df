import { mailboxName } from '../../protocol/names.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import type { RelayFrame } from '../../protocol/messages/relay.ts'
import type { LoadedPlan, Resolution } from '../../sync-config/types.ts'
import type { StreamInput, StreamPorts, Upstream } from './ports.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import type { View } from './view.ts'

/** A limit on parallel reads, because each answer may have as many rows as a lookup may. */
const ASKED_AT_ONCE = 16

export interface Resolved extends Resolution {
  /** The client's highest marker in its user's mailbox. */
  writeCheckpoint: string | null
}

export const mailboxOf = (input: StreamInput, { seed }: Pick<LoadedPlan, 'seed'>): string =>
  mailboxName(input.user, seed)

/** Makes lookups, buckets and subscription consistent at the view's checkpoint. */
export class Resolver {
  readonly #input: StreamInput
  readonly #ports: StreamPorts
  readonly #view: View
  #seq = 0
  /** Bytes: see `View.bytesOf`. */
  #known = 0
  #plan: LoadedPlan | null = null
  /** The last result and its inputs, which most checkpoints do not change. */
  #last: { plan: LoadedPlan; claims: StreamInput['claims']; version: number; resolved: Resolved } | null = null

  constructor(input: StreamInput, ports: StreamPorts, view: View) {
    this.#input = input
    this.#ports = ports
    this.#view = view
  }

  /**
   * Returns null when the upstream closed or there is no plan yet: start over. Throws PSYNC_S2305, and PSYNC_S2003 when
   * the isolate has no room for its buckets.
   */
  async resolve(upstream: Upstream): Promise<Resolved | null> {
    const view = this.#view
    for (;;) {
      const plan = await this.#load()
      if (!plan) return null
      const last = this.#last
      const { claims } = this.#input
      if (last?.plan === plan && last.claims === claims && last.version === view.version) return last.resolved
      const mailbox = mailboxOf(this.#input, plan)
      const program = plan.request(this.#context())
      const resolution = program.resolve((bucket) => view.rows(bucket))
      const need = [...resolution.need]
      // Most mailboxes were never written to; their objects are not called.
      if (!view.rows(mailbox) && view.states.get(mailbox)?.count === 0) view.setRows(mailbox, [])
      if (!view.rows(mailbox)) need.push(mailbox)
      const wanted = new Set([...resolution.lookups, mailbox])
      const complete = resolution.need.length === 0
      if (complete) for (const { bucket } of resolution.buckets) wanted.add(bucket)
      // The previous buckets, and their room, are kept until all lookups are known.
      const bytes = view.bytesOf(wanted)
      if (complete || bytes > this.#known) this.#ports.know((this.#known = bytes))
      const add = [...wanted].filter((bucket) => !view.subscribed.has(bucket))
      const remove = complete ? [...view.subscribed].filter((bucket) => !wanted.has(bucket)) : []
      if (add.length > 0 || remove.length > 0) {
        if (!(await this.#subscribe(upstream, add, remove))) return null
        continue
      }
      if (need.length === 0) {
        const resolved = { ...resolution, writeCheckpoint: this.#writeCheckpoint(mailbox) }
        this.#last = { plan, claims, version: view.version, resolved }
        return resolved
      }
      if (!(await this.#readRows(upstream, need, mailbox))) return null
    }
  }

  #context() {
    const { request, claims } = this.#input
    return {
      claims,
      parameters: request.parameters ?? {},
      includeDefaults: request.streams?.include_defaults ?? true,
      subscriptions: (request.streams?.subscriptions ?? []).map((each) => ({
        stream: each.stream,
        parameters: each.parameters,
        priority: each.override_priority,
      })),
    }
  }

  async #load(): Promise<LoadedPlan | null> {
    const hash = this.#view.plan
    if (hash === null) return null
    if (this.#plan?.hash !== hash) this.#plan = await this.#ports.plan(hash)
    return this.#plan
  }

  async #subscribe(upstream: Upstream, add: string[], remove: string[]): Promise<boolean> {
    const view = this.#view
    const { form } = view
    const called = remove.map((bucket) => view.called(bucket))
    for (const bucket of remove) view.unsubscribe(bucket)
    for (const bucket of add) view.subscribe(bucket)
    const seq = ++this.#seq
    upstream.send({ v: MESSAGE_VERSION, type: 'subscribe', seq, form, add, remove: called })
    if (add.length === 0) return true
    for (;;) {
      const frame: RelayFrame | null = await upstream.next()
      if (frame === null) return false
      view.apply(frame)
      if (frame.seq === seq) return true
    }
  }

  /** Reads at the view's checkpoint, and takes no message meanwhile. */
  async #readRows(upstream: Upstream, need: readonly string[], mailbox: string): Promise<boolean> {
    const view = this.#view
    const { checkpoint } = view
    let exact = true
    for (let at = 0; at < need.length; at += ASKED_AT_ONCE) {
      const asked = need.slice(at, at + ASKED_AT_ONCE)
      const answers = await Promise.all(asked.map((bucket) => this.#ports.rows(bucket, checkpoint)))
      for (const [i, bucket] of asked.entries()) {
        const answer = answers[i]
        if (answer?.kind === 'many') throw tooManyRows()
        // A deleted lookup is not empty: there is another plan by now, or will be in a moment. A mailbox belongs to no
        // plan: if it is deleted, there is nothing to acknowledge, and no newer checkpoint would bring it back.
        if (answer?.kind === 'rows') view.setRows(bucket, answer.rows)
        else if (answer?.kind === 'gone' && bucket === mailbox) view.setRows(bucket, [])
        else exact = false
      }
    }
    if (exact) return true
    // The next message brings a newer checkpoint.
    const frame = await upstream.next()
    if (frame === null) return false
    view.apply(frame)
    return true
  }

  /** All clients of a user that send no id are the client `''`. */
  #writeCheckpoint(mailbox: string): string | null {
    const client = this.#input.request.client_id ?? ''
    const rows = (this.#view.rows(mailbox) ?? []).map((row): { id: string; n: string } => JSON.parse(row))
    return rows.find(({ id }) => id === client)?.n ?? null
  }
}

const tooManyRows = (): RockpoolError =>
  new RockpoolError(
    'PSYNC_S2305',
    'a lookup of this client has more rows than MAX_LOOKUP_ROWS allows: narrow the sync config, or raise the limit',
  )
