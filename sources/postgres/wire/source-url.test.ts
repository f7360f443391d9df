import { describe, expect, test } from 'vitest'
import { RockpoolError } from '../../../protocol/errors.ts'
import { isPoolerRefusal } from './pooler.ts'
import { parseSourceUrl, redactUrl, type SourceUrl } from './source-url.ts'

const parse = (url: string): Partial<SourceUrl> => {
  const { notes: _, saidMode: __, ...rest } = parseSourceUrl(url)
  return rest
}
function problem(url: string): string {
  try {
    parseSourceUrl(url)
  } catch (error) {
    if (error instanceof RockpoolError) return `${error.code} ${error.message}`
    throw error
  }
  return 'no problem'
}
const base = {
  user: 'u',
  password: 'p',
  database: 'd',
  sslmode: 'verify-full',
  systemRoots: false,
  direct: false,
  earlier: null,
  channelBinding: 'prefer',
  applicationName: 'rockpool',
  connectSeconds: 10,
  options: '',
}
const at = (host: string, port = 5432) => ({ ...base, hosts: [{ host, port }] })

describe('URLs', () => {
  test.each<[string, object]>([
    ['postgres://u:p@h/d', at('h')],
    ['postgresql://u:p@h:6000/d', at('h', 6000)],
    [' POSTGRES://u:p@h/d\n', at('h')],
    ['postgres://u:p@h', { ...at('h'), database: 'u' }],
    ['postgres://u:p@h/', { ...at('h'), database: 'u' }],
    ['postgres://u@h/d', { ...at('h'), password: '' }],
    ['postgres://u:p@[2001:db8::1]/d', at('2001:db8::1')],
    ['postgres://u:p@[::1]:6000/d', { ...at('::1', 6000), sslmode: 'disable' }],
    ['postgres://u:p@10.0.0.1:6000/d', at('10.0.0.1', 6000)],
    ['postgres://u:p@localhost/d', { ...at('localhost'), sslmode: 'disable' }],
    ['postgres://u:p@127.0.0.1/d?sslmode=require', { ...at('127.0.0.1'), sslmode: 'require' }],
    ['postgres://u%40x:p%40%2F%23%25%20@h/d%20e', { ...at('h'), user: 'u@x', password: 'p@/#% ', database: 'd e' }],
    ['postgres://u:p@ss/w#r?d@h:1/d?sslmode=require', { ...at('h', 1), password: 'p@ss/w#r?d', sslmode: 'require' }],
    ['postgres://u:p@h/d?application_name=a@b', { ...at('h'), applicationName: 'a@b' }],
    [
      'postgres://u:p@h1:1,h2,[::1]:3/d',
      {
        ...base,
        hosts: [
          { host: 'h1', port: 1 },
          { host: 'h2', port: 5432 },
          { host: '::1', port: 3 },
        ],
      },
    ],
    ['postgresql:///d?host=h&port=6000&user=u&password=p', at('h', 6000)],
    [
      'postgresql://u:p@/d?host=h1,h2&port=1,2',
      {
        ...base,
        hosts: [
          { host: 'h1', port: 1 },
          { host: 'h2', port: 2 },
        ],
      },
    ],
    ['postgres://u:p@h?dbname=d', at('h')],
    ['postgres://u:p@h/d?sslnegotiation=direct&sslmode=require', { ...at('h'), sslmode: 'require', direct: true }],
    ['postgres://u:p@h/d?sslnegotiation=postgres', at('h')],
    ['postgres://u:p@h/d?connect_timeout=3', { ...at('h'), connectSeconds: 3 }],
    ['postgres://u:p@h/d?connect_timeout=0', { ...at('h'), connectSeconds: 60 }],
    [
      'postgres://u:p@h/d?options=endpoint%3Dep-x%20-c%20geqo%3Doff',
      { ...at('h'), options: 'endpoint=ep-x -c geqo=off' },
    ],
  ])('%s', (url, expected) => expect(parse(url)).toEqual(expected))

  test.each<[string, string]>([
    ['', 'verify-full'],
    ['sslmode=disable', 'disable'],
    ['sslmode=require', 'require'],
    ['sslmode=verify-ca', 'verify-ca'],
    ['sslmode=verify-full', 'verify-full'],
    ['ssl=true', 'require'],
    ['ssl=0', 'disable'],
    ['sslrootcert=system', 'verify-full'],
    ['sslmode=require&sslrootcert=/etc/rds.pem', 'require'],
    ['sslmode=require&channel_binding=prefer', 'require'],
    // What binding the channel protects from, a verified certificate protects from.
    ['sslmode=require&channel_binding=require', 'verify-full'],
  ])('%j means %s', (query, sslmode) => expect(parse(`postgres://u:p@h/d?${query}`).sslmode).toBe(sslmode))

  test.each<[string, RegExp]>([
    ['mysql://u:p@h/d', /must begin with postgres:\/\//],
    ['prisma://accelerate.prisma-data.net/?api_key=x', /must begin with postgres:\/\//],
    ['postgres://:p@h/d', /names no user/],
    ['postgres://u:p@/d', /names no host/],
    ['postgres://u:p@h:x/d', /is not HOST:PORT/],
    ['postgres://u:p@h:0/d', /0 is not a port/],
    ['postgres://u:p@h:70000/d', /70000 is not a port/],
    ['postgres://u:p@2001:db8::1:5432/d', /IPv6 address must be in brackets/],
    ['postgres://u:50%off@h/d', /password has a % .* write %25/],
    ['postgres://u:p@%2Fcloudsql%2Fproject:region:name/d', /Unix socket/],
    ['postgres://u:p@/d?host=/cloudsql/project:region:name', /Unix socket/],
    ['postgres://u:p@h/d?sslmode=no-verify', /use require/],
    ['postgres://u:p@h/d?sslmode=yes', /sslmode=yes is not known/],
    [
      'postgres://u:p@h/d?sslmode=prefer',
      /sslmode=prefer lets an attacker in between turn TLS off.*Write sslmode=verify-full, or sslmode=disable/,
    ],
    ['postgres://u:p@localhost/d?sslmode=allow', /sslmode=allow lets an attacker in between turn TLS off/],
    ['postgres://u:p@h/d?channel_binding=require&sslmode=disable', /needs TLS/],
    ['postgres://u:p@h/d?sslnegotiation=direct&sslmode=disable', /sslnegotiation=direct needs TLS/],
    ['postgres://u:p@localhost/d?sslnegotiation=direct', /sslnegotiation=direct needs TLS/],
    ['postgres://u:p@h/d?sslnegotiation=soon', /sslnegotiation=soon is not known/],
    ['postgres://u:p@h/d?sslcert=a.pem', /certificates of clients/],
    ['postgres://u:p@h/d?service=x', /service is not supported/],
    ['postgres://u:p@h/d?target_session_attrs=standby', /asks for a replica/],
    ['postgres://u:p@h/d?connect_timeout=soon', /connect_timeout=soon/],
    ['postgres://u:p@h/d?unheard_of=1', /"unheard_of" is not known/],
    ['postgres://u:p@h/d?flag', /is not NAME=VALUE/],
  ])('%s is refused', (url, message) => {
    expect(problem(url)).toMatch(/^ROCKPOOL_SETTINGS DATABASE_URL: /)
    expect(problem(url)).toMatch(message)
  })

  test('a deployment of an earlier version may keep its URL, and the problem is reported', () => {
    const earlier = (host: string, query: string) => {
      const { sslmode, earlier } = parseSourceUrl(`postgres://u:p@${host}/d?${query}`, { earlierTls: true })
      return [sslmode, earlier && [earlier.said, /Write sslmode=verify-full/.test(earlier.advice)]]
    }
    expect(earlier('h', '')).toEqual(['prefer', [null, true]])
    expect(earlier('h', 'sslmode=prefer')).toEqual(['prefer', ['prefer', true]])
    expect(earlier('h', 'sslmode=allow')).toEqual(['prefer', ['allow', true]])
    for (const mode of ['disable', 'require', 'verify-full'])
      expect(earlier('h', `sslmode=${mode}`)).toEqual([mode, null])
    expect(earlier('h', 'sslrootcert=system')).toEqual(['verify-full', null])
    expect(earlier('h', 'channel_binding=require')).toEqual(['verify-full', null])
    expect(earlier('localhost', '')).toEqual(['disable', null])
  })

  test('no error shows the password', () => {
    for (const url of [
      'postgres://u:se%cret@h/d',
      'postgres://u:secret@h:x/d',
      'mysql://u:secret@h/d',
      'postgres://u:secret@h/d?x=y',
      'postgres://u:secret@/d',
      // Not encoded, so it is read as something else.
      'postgres://u:p?secret@h/d',
      'postgres://u:p/s?secret@h/d?sslmode=disable',
      'postgres://h/d?user=u&password=p&secret',
      'postgres://h/d?user=u&password=p&secret=1',
      'postgres://u@h/d?password:secret=1',
      'postgres://u:p@9/secret@h/d',
      'postgres://u:p@9:secret/s@h/d',
      'postgres://u:p@[secret/s@h/d',
      'postgres://u:p?secret=%s@h/d',
      'postgres://u:p@s?secret=s@h/d',
      'postgres://u:p@s?sslmode=secret@h/d',
      'postgres://u:p@s?port=secret@h/d',
    ]) {
      expect(problem(url)).toMatch(/^ROCKPOOL/)
      expect(problem(url)).not.toContain('secret')
    }
    expect(redactUrl('postgres://u:se@c/ret@h:1/d?sslmode=require')).toBe('postgres://u:…@h:1/d?sslmode=require')
    expect(redactUrl('postgres://u@h/d?password=secret&x=y')).toBe('postgres://u@h/d?password=…&x=y')
  })

  test('parameters without effect are reported with the reason', () => {
    const { notes } = parseSourceUrl(
      'postgres://u:p@h/d?sslmode=require&channel_binding=require&connection_limit=1&keepalives=1&sslnegotiation=direct&sslrootcert=/a.pem',
    )
    expect(notes.join('\n')).toMatch(
      /DATABASE_CA[^]*sslnegotiation=direct works [^]*channel_binding[^]*connection_limit is ignored: [^]*keepalives is ignored: /,
    )
    expect(notes).toHaveLength(5)
  })
})

describe('poolers', () => {
  test.each<[string, RegExp]>([
    [
      'postgres://postgres.abc:p@aws-0-eu-central-1.pooler.supabase.com:6543/postgres',
      /Supabase's pooler.*db\.PROJECT\.supabase\.co:5432/,
    ],
    ['postgres://postgres.abc:p@aws-0-eu-central-1.pooler.supabase.com:5432/postgres', /Supabase's pooler/],
    ['postgres://postgres:p@db.abc.supabase.co:6543/postgres', /use port 5432/],
    [
      'postgres://u:p@ep-cool-1-pooler.eu-central-1.aws.neon.tech/neondb?sslmode=require&channel_binding=require',
      /use ep-cool-1\.eu-central-1\.aws\.neon\.tech/,
    ],
    ['postgres://u:p@ep-cool-1-pooler.c-2.eu-central-1.aws.neon.tech/neondb', /use ep-cool-1\.c-2\.eu-central-1/],
    ['postgres://u:p@db-do-user-1.b.db.ondigitalocean.com:25061/pool', /25060/],
    ['postgres://u:p@p.abc.db.postgresbridge.com:5431/postgres', /5432/],
    ['postgres://u:p@x.postgres.database.azure.com:6432/d', /5432/],
    ['postgres://u:p@app.proxy-abc.eu-west-1.rds.amazonaws.com/d', /RDS Proxy/],
    ['postgres://u:p@app.cluster-ro-abc.eu-west-1.rds.amazonaws.com/d', /reader endpoint/],
    ['postgres://u:p@abc.hyperdrive.local:5432/d', /Hyperdrive/],
    ['postgres://u:p@h/d?pgbouncer=true', /pgbouncer=true/],
    ['postgres://u:p@good,ep-x-pooler.y.neon.tech/d', /Neon's pooler/],
  ])('%s', (url, advice) => {
    expect(problem(url)).toMatch(/^ROCKPOOL_SOURCE_SETTINGS .*connection pooler/)
    expect(problem(url)).toMatch(advice)
  })

  test.each([
    'postgres://postgres:p@db.abc.supabase.co:5432/postgres',
    'postgres://u:p@ep-cool-1.eu-central-1.aws.neon.tech/neondb?sslmode=require&channel_binding=require',
    'postgres://u:p@db-do-user-1.b.db.ondigitalocean.com:25060/defaultdb?sslmode=require',
    'postgres://u:p@p.abc.db.postgresbridge.com:5432/postgres?sslmode=require',
    'postgres://avnadmin:p@pg-1.project.aivencloud.com:12345/defaultdb?sslmode=require',
    'postgres://u:p@app.abc.eu-west-1.rds.amazonaws.com/d?sslmode=verify-full',
    'postgres://u:p@34.1.2.3:5432/d',
    'postgres://u:p@my-pooler.example.com/d',
  ])('%s is not a pooler', (url) => expect(problem(url)).toBe('no problem'))

  test.each<[string, boolean]>([
    ['unsupported startup parameter: replication', true],
    ['unsupported startup parameter in options: bytea_output', true],
    ['no such database: app', true],
    ['Tenant or user not found', true],
    ['database "app" does not exist', false],
    ['password authentication failed for user "u"', false],
    ['remaining connection slots are reserved', false],
  ])('the answer %j', (message, is) => expect(isPoolerRefusal(message)).toBe(is))
})
