import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { unstable_startWorker } from 'wrangler'
import { Probe } from './probe.ts'
import { FULL, QUICK, type Asking } from './asking.ts'
import { QUESTIONS } from './questions.ts'

// `npm run probe`: asks a small Worker about facts that Rockpool assumes, or would like to know. On this machine, where
// no limits apply, that only shows that the probe works. On an account: npx wrangler deploy -c
// bench/probe/wrangler.toml --var PROBE_TOKEN:something npm run probe -- --url https://rockpool-probe.… --token
// something [--deploy]

const WIDTH = Math.max(...QUESTIONS.map(({ question }) => question.length)) + 1
const CONFIG = fileURLToPath(new URL('wrangler.toml', import.meta.url))
const USAGE = `npm run probe [-- --url URL --token TOKEN [--deploy]] [--source HOST:PORT] [--ipv6 HOST:PORT] [--quick]

  --url URL      of the deployed Worker; without it one is started on this machine
  --token TOKEN  what it was deployed with as PROBE_TOKEN
  --deploy       deploys it again in the middle, to see what becomes of sockets; wrangler must be logged in
  --source HOST:PORT  of a Postgres: alarms hold three sockets to it, as the replicator does
  --ipv6 HOST:PORT    of something that has an IPv6 address alone, as db.PROJECT.supabase.co:5432
  --quick        small`

const OPTIONS = {
  url: { type: 'string' },
  token: { type: 'string' },
  deploy: { type: 'boolean' },
  source: { type: 'string' },
  ipv6: { type: 'string' },
  quick: { type: 'boolean' },
  help: { type: 'boolean' },
} as const

const read = () => parseArgs({ args: process.argv.slice(2), options: OPTIONS }).values

process.exitCode = await main()

async function main(): Promise<number> {
  let values: ReturnType<typeof read>
  try {
    values = read()
  } catch (error) {
    return refused(error instanceof Error ? error.message : String(error))
  }
  const { url, token, deploy, source = null, ipv6 = null, quick, help } = values
  if (help) {
    console.log(USAGE)
    return 0
  }
  if (url !== undefined && !URL.canParse(url)) return refused(`--url ${url} is not a URL`)
  if ((url === undefined) !== (token === undefined)) return refused('--url and --token go together')
  if (deploy && token === undefined) return refused('--deploy needs --url and --token')
  for (const [option, address] of Object.entries({ source, ipv6 }))
    if (address !== null && !/^(\[[0-9a-f:.]+\]|[^:[\]]+):\d+$/i.test(address))
      return refused(`--${option} ${address} is no HOST:PORT`)
  const asking = { sizes: quick ? QUICK : FULL, source, ipv6 }
  if (url !== undefined && token !== undefined)
    return ask(new Probe(url, token), { ...asking, deploy: deploy ? () => deployed(token) : null })
  const secret = crypto.randomUUID()
  // Keeps miniflare from asking Cloudflare for the location of this machine.
  process.env.CLOUDFLARE_CF_FETCH_ENABLED = 'false'
  const worker = await unstable_startWorker({
    config: CONFIG,
    bindings: { PROBE_TOKEN: { type: 'plain_text', value: secret } },
    dev: { server: { hostname: '127.0.0.1', port: 0 }, inspector: false, logLevel: 'error', persist: false },
  })
  try {
    await worker.ready
    return await ask(new Probe(String(await worker.url), secret), { ...asking, deploy: null })
  } finally {
    await worker.dispose()
  }
}

async function ask(probe: Probe, asking: Asking): Promise<number> {
  let failed = 0
  for (const { name, question, ask } of QUESTIONS) {
    const answer = await ask(probe, asking).catch((error: unknown) => {
      failed++
      return `failed: ${error instanceof Error ? error.message : String(error)}`
    })
    console.log(`${name.padEnd(8)} ${question.padEnd(WIDTH)} ${answer}`)
  }
  return failed === 0 ? 0 : 1
}

function deployed(token: string): Promise<void> {
  const args = ['wrangler', 'deploy', '-c', CONFIG, '--var', `PROBE_TOKEN:${token}`]
  const child = spawn('npx', args, { stdio: ['ignore', 'inherit', 'inherit'] })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) => (code === 0 ? resolve() : reject(new Error(`wrangler deploy ended with ${code}`))))
  })
}

function refused(reason: string): number {
  console.error(`${reason}\n\n${USAGE}`)
  return 2
}
