import { compile, loadPlan } from '../sync-config/index.ts'

// `node bench/sync-config.ts`: rows and requests evaluated per second of CPU time, which other programs of the machine
// do not affect, with their spread. Nothing is asserted.

const ROUNDS = 7
const streams = Array.from({ length: 20 }, (_, i) => {
  const table = i < 2 ? 'tasks' : `other${i}`
  return `  s${i}:\n    auto_subscribe: true\n    query: SELECT id, title, done, owner_id FROM ${table} WHERE owner_id = auth.user_id()${i === 1 ? ' AND done = 0' : ''}\n`
})
const rowsPlan = load(`config:\n  edition: 3\nstreams:\n${streams.join('')}`)
const lookups = Array.from(
  { length: 5 },
  (_, i) =>
    `  l${i}:\n    auto_subscribe: true\n    query: SELECT * FROM t${i} WHERE team IN (SELECT team FROM members${i} WHERE user_id = auth.user_id())\n`,
)
const requestPlan = load(`config:\n  edition: 3\nstreams:\n${lookups.join('')}`)

const row = {
  id: 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
  title: 'Pack buckets and nets',
  done: 0n,
  owner_id: 'alice',
  created_at: '2026-11-24',
}
measure(
  'rows evaluated (20 definitions, 2 match)',
  100_000,
  () => void rowsPlan.evaluateRow({ schema: 'public', name: 'tasks' }, row),
)
const results = requestPlan
  .evaluateRow({ schema: 'public', name: 'members0' }, { id: 'm', team: 'red', user_id: 'alice' })
  .rows.map((each) => each.data)
measure('requests with 5 lookups', 20_000, () => {
  requestPlan
    .request({ claims: { sub: 'alice' }, parameters: {}, includeDefaults: true, subscriptions: [] })
    .resolve(() => results)
})

function load(yaml: string) {
  const result = compile(yaml)
  if (!result.ok) throw new Error(JSON.stringify(result.errors))
  return loadPlan(result.plan)
}

function measure(what: string, times: number, work: () => void): void {
  const rates: number[] = []
  for (let round = 0; round <= ROUNDS; round++) {
    const from = process.cpuUsage()
    for (let n = 0; n < times; n++) work()
    const { user, system } = process.cpuUsage(from)
    if (round > 0) rates.push(times / ((user + system) / 1_000_000))
  }
  rates.sort((a, b) => a - b)
  const at = (i: number) => Math.round(rates[i] ?? 0).toLocaleString('en')
  console.log(
    `${what.padEnd(42)} median ${at(Math.floor(ROUNDS / 2))}/s   min ${at(0)}   max ${at(ROUNDS - 1)}   (${ROUNDS})`,
  )
}
