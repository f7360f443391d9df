import { expect, test } from 'vitest'
import type { Status, SyncState } from '@rockpool/client'
import { words } from './words.ts'

const error = { code: 'network', message: 'nobody answers' }
const status = (state: SyncState, more: Partial<Status> = {}): Status => ({
  pendingWrites: 0,
  unconfirmedWrites: 0,
  failedWrites: 0,
  lastSyncedAt: null,
  comparing: null,
  upload: null,
  unsynced: [],
  storage: 'opfs',
  setAside: null,
  ...more,
  ...state,
})
const failing = {
  upload: { error: { code: 'upload_answer', message: 'the upload was answered 500' }, attempts: 2, retryAt: 0 },
}

test.each<[string, Status, string, string, string | null]>([
  ['in step', status({ state: 'live' }), 'In step', 'live', null],
  ['by the button', status({ state: 'offline' }, { pendingWrites: 1 }), 'Offline · 1 change to send', 'offline', null],
  [
    'without a network',
    status({ state: 'error', error, retryAt: 0 }, { pendingWrites: 1, unconfirmedWrites: 1 }),
    'Offline · 2 changes to send',
    'offline',
    null,
  ],
  [
    'without a network, for uploads too',
    status({ state: 'error', error, retryAt: 0 }, { ...failing, pendingWrites: 1 }),
    'Offline · 1 change to send',
    'offline',
    null,
  ],
  [
    'while uploads fail',
    status({ state: 'live' }, { ...failing, pendingWrites: 2 }),
    'Cannot send · 2 changes to send',
    'error',
    'Not sent yet, trying again: the upload was answered 500',
  ],
  [
    'while the address is wrong',
    status({ state: 'error', error: { ...error, code: 'url' }, retryAt: 0 }),
    'Trying again …',
    'error',
    'Not in sync: nobody answers',
  ],
  [
    'signed out',
    status({ state: 'needs-auth', error: { code: 'signed_out', message: 'nobody is signed in' } }),
    'Signed out',
    'needs-auth',
    'Signed out: nobody is signed in',
  ],
  [
    'with a token that the server refuses',
    status(
      { state: 'needs-auth', error: { code: 'PSYNC_S2102', message: 'the signature of the token is wrong' } },
      { pendingWrites: 1 },
    ),
    'Token refused · 1 change to send',
    'needs-auth',
    'The token is refused: the signature of the token is wrong',
  ],
  ['where nothing stays', status({ state: 'live' }, { storage: 'memory' }), 'In step · in memory only', 'live', null],
])('%s', (_, of, headline, look, problem) => {
  expect(words(of)).toEqual({ headline, look, problem })
})
