import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Of `openssl req -newkey`, and what else it is told. */
export const KINDS = {
  'RSA 2048': ['rsa:2048'],
  'RSA 3072': ['rsa:3072'],
  'P-256': ['ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'],
  'P-384': ['ec', '-pkeyopt', 'ec_paramgen_curve:secp384r1'],
  'P-521': ['ec', '-pkeyopt', 'ec_paramgen_curve:secp521r1'],
  Ed25519: ['ed25519'],
  'RSA-PSS': ['rsa-pss', '-pkeyopt', 'rsa_keygen_bits:2048'],
} as const

export type Kind = keyof typeof KINDS

/** PEM: a key of its own, and a certificate that it has signed itself. */
export interface OwnCertificate {
  key: string
  cert: string
}

export async function ownCertificate(kind: Kind): Promise<OwnCertificate> {
  const folder = await mkdtemp(join(tmpdir(), 'rockpool-tls-'))
  try {
    const made = [
      '-x509',
      '-nodes',
      '-newkey',
      ...KINDS[kind],
      '-keyout',
      'key',
      '-out',
      'cert',
      '-days',
      '2',
      '-subj',
      '/CN=localhost',
    ]
    await run('openssl', ['req', ...made], { cwd: folder })
    return { key: await readFile(join(folder, 'key'), 'utf8'), cert: await readFile(join(folder, 'cert'), 'utf8') }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
