import { expect, test } from 'vitest'
import { isRevoked, type RevokedBy, type TokenMark, type ToldRevocation } from '../../protocol/revocations.ts'
import { generator } from '../../test/support/random.ts'
import { TokenChecks } from './token-checks.ts'

/** A replicator with its list, and a relay whose calls may be answered late and whose revocations may be lost. */
class World {
  readonly list = new Map<string, number | null>()
  revision = 0
  questions = 0
  saved = 0
  readonly streams = new Map<number, TokenMark>()
  readonly ended: number[] = []
  readonly admitted: [stream: number, seq: number][] = []
  readonly #pause: () => Promise<void>
  checks: TokenChecks<number>

  constructor(pause: () => Promise<void> = async () => {}) {
    this.#pause = pause
    this.checks = this.#begin(0)
  }

  #begin(revision: number): TokenChecks<number> {
    const begun: TokenChecks<number> = new TokenChecks<number>({
      ask: async (tokens) => {
        this.questions++
        await this.#pause()
        const revoked = tokens.flatMap((token, i) => (this.isRevoked(token) ? [i] : []))
        const answer = { checkpoint: 7, plan: null, revoked, revision: this.revision }
        await this.#pause()
        return this.checks === begun ? answer : null
      },
      streams: () => this.streams,
      end: (stream) => {
        this.streams.delete(stream)
        this.ended.push(stream)
      },
      admitted: (stream, seq) => void this.admitted.push([stream, seq]),
      saveRevision: (saved) => void (this.saved = saved),
    })
    begun.wake(revision)
    return begun
  }

  /** Hibernation: only what attachments have is left. */
  hibernate(): void {
    this.checks = this.#begin(this.saved)
  }

  isRevoked(token: TokenMark): boolean {
    return isRevoked(token, (of, hash) => this.list.get(`${of} ${hash}`))
  }

  arrive(stream: number, token: TokenMark): Promise<unknown> {
    this.streams.set(stream, token)
    this.checks.arrived(stream, token)
    return this.checks.question()
  }

  renew(stream: number, token: TokenMark, seq: number): void {
    this.streams.set(stream, token)
    this.checks.renewed(stream, token, seq)
  }

  /** Returns the number of streams that the relay has ended; null when it was not told. */
  revoke(of: RevokedBy, hash: string, before: number | null, isTold = true): number | null {
    this.list.set(`${of} ${hash}`, before)
    this.revision++
    const told: ToldRevocation = { of, hash, before }
    return isTold ? this.checks.revoked(told, this.revision) : null
  }
}

const ann: TokenMark = { user: 'ann', client: 'phone', jti: 'a1', iat: 100 }
const settled = () => new Promise((resolve) => setTimeout(resolve, 5))

test('a new stream is checked by the answer that it waits for anyway', async () => {
  const world = new World()
  world.revoke('user', 'ann', 100)
  await Promise.all([
    world.arrive(1, ann),
    world.arrive(2, { ...ann, iat: 101 }),
    world.arrive(3, { ...ann, user: 'bob' }),
  ])
  expect([world.ended, [...world.streams.keys()], world.checks.owing]).toEqual([[1], [2, 3], false])
})

test('each way of revoking ends what it concerns, and nothing else', async () => {
  const world = new World()
  for (const [i, token] of [ann, { ...ann, jti: 'a2' }, { ...ann, user: 'bob', client: 'tablet' }].entries())
    await world.arrive(i, token)
  expect(world.revoke('jti', 'a2', 1_000)).toBe(1)
  expect(world.revoke('client', 'tablet', null)).toBe(1)
  expect(world.revoke('user', 'ann', 99)).toBe(0)
  expect([...world.streams.keys()]).toEqual([0])
  expect(world.revoke('user', 'ann', null)).toBe(1)
})

test('a revocation that the relay was not told of is found when it hears of a later one', async () => {
  const world = new World()
  await world.arrive(1, ann)
  await world.arrive(2, { ...ann, user: 'bob' })
  expect(world.revoke('user', 'ann', null, false)).toBeNull()
  expect(world.streams.size).toBe(2)
  // Its socket was opened again.
  world.checks.heard(world.revision)
  await settled()
  expect([...world.streams.keys()]).toEqual([2])
  expect(world.revoke('user', 'nobody', null, false)).toBeNull()
  expect(world.revoke('user', 'bob', null, false)).toBeNull()
  await world.arrive(3, { ...ann, user: 'eve' })
  await settled()
  expect([...world.streams.keys()]).toEqual([3])
})

test('while nothing new is revoked, streams that were checked are asked about no more, also after hibernation', async () => {
  const world = new World()
  world.revoke('user', 'eve', null)
  await world.arrive(1, ann)
  const { questions } = world
  world.checks.heard(world.revision)
  world.hibernate()
  world.checks.heard(world.revision)
  await settled()
  expect(world.questions).toBe(questions)
})

test('another token is admitted when it is not revoked, and ends the stream when it is', async () => {
  const world = new World()
  await world.arrive(1, ann)
  await world.arrive(2, { ...ann, jti: 'b1' })
  world.revoke('jti', 'old', 1_000)
  world.renew(1, { ...ann, jti: 'new', iat: 200 }, 1)
  world.renew(2, { ...ann, jti: 'old' }, 1)
  await settled()
  expect([world.admitted, [...world.streams.keys()]]).toEqual([[[1, 1]], [1]])
  expect(world.revoke('jti', 'new', 1_000)).toBe(1)
})

test.each([1, 2, 3, 4, 5, 6, 7, 8])(
  'under any order of calls nothing with a revoked token is left: seed %i',
  async (seed) => {
    for (let round = 0; round < 60; round++) {
      const random = generator(seed * 1_000 + round)
      const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T
      const world = new World(async () => {
        for (let n = Math.floor(random() * 6); n > 0; n--) await Promise.resolve()
      })
      const token = (): TokenMark => ({
        user: pick(['ann', 'bob', 'eve']),
        client: pick(['phone', 'tablet', '']),
        jti: pick(['1', '2', '3', '4', undefined]),
        iat: Math.floor(random() * 10),
      })
      let seqs = 0
      const renewed = new Map<number, number>()
      for (let step = 0; step < 40; step++) {
        const kind = random()
        if (kind < 0.4) void world.arrive(step, token())
        else if (kind < 0.6) {
          const of = pick(['user', 'client', 'jti'] as const)
          const hash = pick({ user: ['ann', 'bob'], client: ['phone'], jti: ['1', '2', '3'] }[of])
          world.revoke(of, hash, random() < 0.3 ? null : Math.floor(random() * 10), random() < 0.7)
        } else if (kind < 0.8 && world.streams.size > 0) {
          const stream = pick([...world.streams.keys()])
          const { user } = world.streams.get(stream) ?? ann
          world.renew(stream, { ...token(), user }, ++seqs)
          renewed.set(stream, seqs)
        } else if (!world.checks.owing) world.hibernate()
        for (let n = Math.floor(random() * 4); n > 0; n--) await Promise.resolve()
      }
      // Whatever was lost, the socket that is opened next says that there is something.
      world.checks.heard(world.revision)
      await settled()
      for (const each of world.streams.values()) expect([seed, round, each, world.isRevoked(each)]).toContain(false)
      for (const stream of world.ended) expect(world.streams.has(stream)).toBe(false)
      for (const [stream, seq] of renewed)
        if (world.streams.has(stream)) expect(world.admitted).toContainEqual([stream, seq])
      expect(world.checks.owing).toBe(false)
    }
  },
)
