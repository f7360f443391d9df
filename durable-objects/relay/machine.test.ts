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
