import { expect, test } from 'vitest'
import type { RelayFrame } from '../../protocol/messages.ts'
import { RelayMachine } from './machine.ts'

test('the committed checkpoint that a relay hears covers the streams that came before it asked, and those that came later ask again', () => {
  const told: [stream: string, frame: RelayFrame][] = []
  const questions: ((checkpoint: number) => void)[] = []
  const machine = new RelayMachine<string>({
    send: (stream, frame) => told.push([stream, frame]),
    hasCredit: () => true,
    ...{ close: () => {}, saveStream: () => {}, saveCheckpoint: () => {}, ask: () => {}, attach: (done) => done() },
    committed: (answer) => questions.push(answer),
  })
  const greeted = () => told.map(([stream, { checkpoint }]) => `${stream} at ${checkpoint}`)
  machine.streamArrived('a')
  machine.replicatorArrived()
  machine.receive({ v: 1, type: 'gap', checkpoint: 5, plan: 'p' })
  // It may have been at checkpoint 9 on another relay, which was committed after the question of `a` was answered.
  machine.streamArrived('b')
  expect(questions).toHaveLength(1)
  questions.shift()?.(5)
  expect(greeted()).toEqual(['a at 5'])
  expect(questions).toHaveLength(1)
  questions.shift()?.(9)
  expect(greeted()).toEqual(['a at 5'])
  machine.receive({ v: 1, type: 'gap', checkpoint: 9, plan: 'p' })
  expect(greeted()).toContain('b at 9')
})

test('an answer of a bucket is the business of the streams that wait for it: a thousand that come at once are not looked at for each', () => {
  const answers: (() => void)[] = []
  const told = new Set<number>()
  let looks = 0
  const machine = new RelayMachine<number>({
    send: (stream, { seq, buckets }) => void (seq === 1 && expect(buckets).toHaveLength(10) && told.add(stream)),
    hasCredit: () => looks++ >= 0,
    ask: (_bucket, _checkpoint, _stale, answer) => void answers.push(() => answer({ count: 1, checksum: 1, last: 1 })),
    ...{ close: () => {}, saveStream: () => {}, saveCheckpoint: () => {}, attach: (done: () => void) => done() },
    committed: (answer) => answer(5),
  })
  const streams = Array.from({ length: 1_000 }, (_, stream) => stream)
  for (const stream of streams) machine.streamArrived(stream)
  machine.replicatorArrived()
  machine.receive({ v: 1, type: 'gap', checkpoint: 5, plan: 'p' })
  // One bucket is everybody's, the others each has alone.
  const names = (stream: number) => ['shared', ...Array.from({ length: 9 }, (_, n) => `${stream}/${n}`)]
  for (const stream of streams) machine.subscribe(stream, 1, names(stream), [])
  looks = 0
  expect(answers).toHaveLength(9_001)
  for (const answer of answers) answer()
  expect(told.size).toBe(1_000)
  expect(looks).toBeLessThanOrEqual(10_000)
})
