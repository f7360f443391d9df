import { expect, test } from 'vitest'
import { runApart } from './apart.ts'

// Everything here is the code of the objects; only storage, sockets and calls are the simulation's. Two processes: one
// would take twice as long.

const SCHEDULES = Number(process.env.ROCKPOOL_SCHEDULES ?? 4_000)
const PROCESSES = 2

test(`I1 to I7 hold at every checkpoint of ${SCHEDULES} schedules, and every client ends current`, async () => {
  const each = Math.ceil(SCHEDULES / PROCESSES)
  const reports = await Promise.all(
    Array.from({ length: PROCESSES }, (_, i) => runApart({ first: 1 + i * each, schedules: each, mutations: [] })),
  )
  for (const { violation } of reports) expect(violation).toBeNull()
  const sum = (count: (report: (typeof reports)[number]) => number) =>
    reports.reduce((total, report) => total + count(report), 0)
  expect(sum(({ schedules }) => schedules)).toBe(each * PROCESSES)
  expect(sum(({ checkpoints }) => checkpoints)).toBeGreaterThan(SCHEDULES * 10)
  // It is about these as well.
  for (const what of [
    'CLEAR read',
    'checkpoints of direct streams',
    'direct streams hibernated',
    'states overtaken',
    'reads overtaken',
  ])
    expect(
      sum(({ counts }) => counts[what] ?? 0),
      what,
    ).toBeGreaterThan(SCHEDULES / 500)
}, 900_000)
