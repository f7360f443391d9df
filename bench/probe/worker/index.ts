import { Hono } from 'hono'
import type { AlarmTask, CallsAnswer, WritesAnswer } from '../messages.ts'
import { cryptoAnswer, decrypt } from './crypto.ts'
import { reached } from './sockets.ts'
import type { ProbeEnvironment } from './subject.ts'
import { work } from './work.ts'

export { Subject } from './subject.ts'

// The Worker of the probe. Its work costs the account money, so every request needs the token.

const app = new Hono<{ Bindings: ProbeEnvironment }>()

app.use(async (c, next) => {
  const { PROBE_TOKEN } = c.env
  if (!PROBE_TOKEN || c.req.query('token') !== PROBE_TOKEN)
    return c.json({ error: 'this needs ?token=, the PROBE_TOKEN of the Worker' }, 401)
  await next()
})

const whole = (text: string | undefined): number => Math.max(0, Math.trunc(Number(text ?? 0)) || 0)

/** Calls `n` objects at once, each of which waits `wait` ms. */
app.get('/calls', async (c) => {
  const wait = whole(c.req.query('wait'))
  const objects = Array.from({ length: whole(c.req.query('n')) }, (_, n) => c.env.SUBJECT.getByName(`waiter ${n}`))
  // Waking the objects is not part of the measurement.
  for (const object of objects) await object.nothing()
  const began = Date.now()
  await Promise.all(objects.map((object) => object.wait(wait)))
  return c.json({ total: Date.now() - began } satisfies CallsAnswer)
})

/** Makes `n` calls that write nothing and `n` that write, one after the other. */
app.get('/writes', async (c) => {
  const object = c.env.SUBJECT.getByName('writer')
  const answer: WritesAnswer = { idle: [], writing: [] }
  const time = async (work: () => Promise<void>): Promise<number> => {
    const began = Date.now()
    await work()
    return Date.now() - began
  }
  await object.write(0)
  for (let n = 1; n <= whole(c.req.query('n')); n++) {
    answer.idle.push(await time(() => object.nothing()))
    answer.writing.push(await time(() => object.write(n)))
  }
  return c.json(answer)
})

/**
 * Each message is a number of millions of rounds of work, and is answered when they are done. It is one invocation,
 * like the stream of a client.
 */
app.get('/work', (c) => {
  if (c.req.header('upgrade')?.toLowerCase() !== 'websocket') return c.json({ error: 'this is a WebSocket' }, 426)
  const [client, socket] = Object.values(new WebSocketPair())
  if (!client || !socket) throw new Error('the runtime made no pair of sockets')
  socket.accept()
  socket.addEventListener('message', ({ data }) => {
    socket.send(String(work(whole(String(data)))))
  })
  return new Response(null, { status: 101, webSocket: client })
})

app.get('/crypto', async (c) => c.json(await cryptoAnswer()))
/**
 * `n` records of `size` bytes. The clock of a Worker stands still meanwhile, so whoever asks has to look at his own.
 */
app.post('/decrypt', async (c) => {
  await decrypt(whole(c.req.query('n')), whole(c.req.query('size')))
  return c.json({})
})
app.get('/connect', async (c) => c.json(await reached(c.req.query('to') ?? '')))

const named = (name: string) => `object ${name}`

app.get('/objects/:name/socket', (c) => {
  if (c.req.header('upgrade')?.toLowerCase() !== 'websocket') return c.json({ error: 'this is a WebSocket' }, 426)
  return c.env.SUBJECT.getByName(named(c.req.param('name'))).fetch(c.req.raw)
})
app.get('/objects/:name', async (c) => c.json(await c.env.SUBJECT.getByName(named(c.req.param('name'))).instance()))
app.post('/objects/:name/send', async (c) => {
  await c.env.SUBJECT.getByName(named(c.req.param('name'))).send(whole(c.req.query('megabytes')))
  return c.json({})
})
app.post('/objects/:name/alarm', async (c) => {
  const { what, n, wait, source } = c.req.query()
  if (!isTask(what)) return c.json({ error: `there is no alarm for ${what}` }, 400)
  const task: AlarmTask = { what, n: whole(n), wait: whole(wait), source: source || null }
  await c.env.SUBJECT.getByName(named(c.req.param('name'))).begin(task)
  return c.json({})
})
const isTask = (what: string | undefined): what is AlarmTask['what'] =>
  what === 'calls' || what === 'together' || what === 'work' || what === 'writes'
app.get('/objects/:name/alarm', async (c) =>
  c.json(await c.env.SUBJECT.getByName(named(c.req.param('name'))).progress()),
)

app.onError((error, c) => c.json({ error: String(error) }, 500))

export default app
