import { expect, test } from 'vitest'
import type { DatabaseStatus } from '@rockpool/client'
import { words } from './words.ts'

const error = { code: 'network', message: 'nobody answers' }
const counts = { pending: 0, unconfirmed: 0, failed: 0, oldestUnsentAt: null }
type State = Pick<DatabaseStatus, 'state'>
const failing = {
  state: 'waiting',
  error: { code: 'upload_answer', message: 'the upload was answered 500' },
  attempts: 2,
  retryAt: 0,
}
const status = (
  state: State,
  upload: object = {},
  storage: DatabaseStatus['storage'] = { kind: 'opfs', state: 'ok' },
): DatabaseStatus =>
  ({
    storage,
    lastSyncedAt: null,
    comparing: null,
    upload: { ...counts, state: 'idle', ...upload },
    ...state,
  }) as DatabaseStatus
const live = { state: 'live' } as const
const failed = { state: 'error', error, retryAt: 0 } as const

test.each<[string, DatabaseStatus, string, string, string[]]>([
  ['in step', status(live), 'In step', 'live', []],
  ['by the button', status({ state: 'offline' }, { pending: 1 }), 'Offline · 1 change to send', 'offline', []],
  ['without a network', status(failed, { pending: 1, unconfirmed: 1 }), 'Offline · 2 changes to send', 'offline', []],
  [
    'without a network, for uploads too',
    status(failed, { ...failing, pending: 1 }),
    'Offline · 1 change to send',
    'offline',
    [],
  ],
  [
    'while uploads fail',
    status(live, { ...failing, pending: 2 }),
    'Cannot send · 2 changes to send',
    'error',
    ['Not sent yet, trying again: the upload was answered 500'],
  ],
  [
    'while uploads have failed for long',
    status(live, { ...failing, state: 'blocked', pending: 2 }),
    'Cannot send · 2 changes to send',
    'error',
    ['Not sent yet, trying again: the upload was answered 500'],
  ],
  [
    'while the address is wrong',
    status({ ...failed, error: { ...error, code: 'url' } } as State),
    'Trying again …',
    'error',
    ['Not in sync: nobody answers'],
  ],
  [
    'signed out',
    status({ state: 'needs-auth', error: { code: 'signed_out', message: 'nobody is signed in' } } as State),
    'Signed out',
    'needs-auth',
    ['Signed out: nobody is signed in'],
  ],
  [
    'with a token that the server refuses',
    status(
      { state: 'needs-auth', error: { code: 'PSYNC_S2102', message: 'the signature of the token is wrong' } } as State,
      { pending: 1 },
    ),
    'Token refused · 1 change to send',
    'needs-auth',
    ['The token is refused: the signature of the token is wrong'],
  ],
  ['where nothing stays', status(live, {}, { kind: 'memory', state: 'ok' }), 'In step · in memory only', 'live', []],
  [
    'on a full disk',
    status(live, { ...failing, pending: 1 }, { kind: 'opfs', state: 'full' }),
    'Cannot send · 1 change to send',
    'error',
    [
      'Not sent yet, trying again: the upload was answered 500',
      'There is no space left on this device. What is stored is safe.',
    ],
  ],
  [
    'while another tab has the file',
    status({ state: 'opening' }, {}, { kind: 'opfs', state: 'blocked', reason: 'owner_silent: it does not answer' }),
    'Opening …',
    'opening',
    ['The database cannot be opened yet: owner_silent: it does not answer'],
  ],
])('%s', (_, of, headline, look, problems) => {
  expect(words(of)).toEqual({ headline, look, problems })
})
