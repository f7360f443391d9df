import { expect, test } from 'vitest'
import type { DatabaseStatus } from './status.ts'
import { AT_RISK_MS, UnsentRisk } from './unsent-risk.ts'

const status = (oldestUnsentAt: number | null, persisted?: boolean): Pick<DatabaseStatus, 'storage' | 'upload'> => ({
  storage: { kind: 'opfs', state: 'ok', ...(persisted === undefined ? {} : { persisted }) },
  upload: { state: 'idle', pending: 1, unconfirmed: 0, failed: 0, oldestUnsentAt },
})

test('a write that waits for a day is in danger, and said to be once', () => {
  const risk = new UnsentRisk()
  expect(risk.look(status(5), AT_RISK_MS + 4)).toBeNull()
  expect(risk.look(status(5), AT_RISK_MS + 5)).toBe(5)
  expect(risk.look(status(5), AT_RISK_MS + 6)).toBeNull()
  expect(risk.look(status(7), AT_RISK_MS + 7)).toBe(7)
})

test('nothing is in danger when nothing waits, or when the browser has promised to keep it', () => {
  const risk = new UnsentRisk()
  expect(risk.look(status(null), AT_RISK_MS * 2)).toBeNull()
  expect(risk.look(status(1, true), AT_RISK_MS * 2)).toBeNull()
  expect(risk.look(status(1, false), AT_RISK_MS * 2)).toBe(1)
})
