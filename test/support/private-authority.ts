import {
  alternatives,
  authority,
  dns,
  server,
  type Made,
  type Wanted,
} from '../../sources/postgres/tls/chain/test-authority.ts'

/** Converts DER to PEM. */
export const certificatePem = (...made: Made[]): string => made.map(({ der }) => pemOf(der)).join('')

function pemOf(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n')
}

const keyPem = ({ keys }: Made): string => keys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()

export interface ServerFiles {
  'server.crt': string
  'server.key': string
}

/**
 * A host's own authority: a root that nobody else knows, and an authority below it that signs certificates of servers.
 */
export interface PrivateAuthority {
  /** The value of DATABASE_CA. */
  ca: string
  root: Made
  middle: Made
  /**
   * Issues a certificate for `localhost` with its chain and its key, as Postgres needs them. `wanted` changes its
   * content.
   */
  issue(wanted?: Wanted): ServerFiles
}

export function privateAuthority(name = 'Private'): PrivateAuthority {
  const root = authority({ cn: [`${name} root`] })
  const middle = authority({ cn: [`${name} servers`], by: root })
  return {
    ca: certificatePem(root),
    root,
    middle,
    issue: (wanted = {}) => {
      const made = server({ cn: ['localhost'], by: middle, extensions: [alternatives([dns('localhost')])], ...wanted })
      return { 'server.crt': certificatePem(made, middle), 'server.key': keyPem(made) }
    },
  }
}

export const SSL = { ssl: 'on', ssl_cert_file: 'server.crt', ssl_key_file: 'server.key' }
