import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Certificates and keys in PEM. */
export interface Certificates {
  ca: string
  /** For `localhost`, signed by the authority. */
  certificate: string
  key: string
}

/** Makes an authority and a certificate for `localhost` with the `openssl` of the machine. */
export async function makeCertificates(): Promise<Certificates> {
  const folder = await mkdtemp(join(tmpdir(), 'rockpool-certificates-'))
  const openssl = (...args: string[]) => run('openssl', args, { cwd: folder })
  try {
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
    await openssl(
      'req',
      '-x509',
      ...curve,
      '-keyout',
      'ca.key',
      '-out',
      'ca.crt',
      '-days',
      '2',
      '-subj',
      '/CN=Rockpool tests',
    )
    await openssl('req', ...curve, '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=localhost')
    await writeFile(join(folder, 'ext'), 'subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n')
    const signed = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', 'ext']
    await openssl('x509', '-req', '-in', 'server.csr', '-out', 'server.crt', ...signed)
    const read = (name: string) => readFile(join(folder, name), 'utf8')
    return { ca: await read('ca.crt'), certificate: await read('server.crt'), key: await read('server.key') }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
