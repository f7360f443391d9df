import { mkdir, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'

interface ProfileNode {
  id: number
  callFrame: { functionName: string; url: string; lineNumber: number }
  hitCount?: number
}

interface Profile {
  nodes: ProfileNode[]
  startTime: number
  endTime: number
}

const INTERVAL_US = 500
const SHOWN = 25
const FEW_SAMPLES = 100

/**
 * Profiles all isolates that the inspector offers until the returned function is called, which writes
 * `PATH-N.cpuprofile` for browsers, and reports where the time went.
 */
export async function startProfile(
  port: number,
  path: string,
  say: (line: string) => void,
): Promise<() => Promise<void>> {
  const targets: { webSocketDebuggerUrl: string }[] = await (await fetch(`http://127.0.0.1:${port}/json`)).json()
  const sessions = await Promise.all(targets.map(({ webSocketDebuggerUrl }) => Inspector.connect(webSocketDebuggerUrl)))
  for (const session of sessions) {
    await session.call('Profiler.enable')
    await session.call('Profiler.setSamplingInterval', { interval: INTERVAL_US })
    await session.call('Profiler.start')
  }
  return async () => {
    for (const [i, session] of sessions.entries()) {
      const { profile }: { profile: Profile } = JSON.parse(await session.call('Profiler.stop'))
      const file = `${path}-${i}.cpuprofile`
      await mkdir(dirname(file), { recursive: true })
      await writeFile(file, JSON.stringify(profile))
      const lines = hottest(profile)
      // Miniflare's own isolates do next to nothing.
      if (lines.length > 0) for (const line of [`profile ${file}`, ...lines]) say(line)
      session.close()
    }
  }
}

/** Returns the functions with the most time of their own. */
function hottest({ nodes }: Profile): string[] {
  const hits = new Map<string, number>()
  let busy = 0
  for (const { callFrame, hitCount = 0 } of nodes) {
    if (callFrame.functionName === '(idle)' || callFrame.functionName === '(root)') continue
    busy += hitCount
    const name = `${callFrame.functionName || '(anonymous)'} ${callFrame.url.split('/').at(-1)}:${callFrame.lineNumber + 1}`
    hits.set(name, (hits.get(name) ?? 0) + hitCount)
  }
  if (busy < FEW_SAMPLES) return []
  return [...hits]
    .sort(([, a], [, b]) => b - a)
    .slice(0, SHOWN)
    .map(([name, count]) => `  ${((100 * count) / Math.max(1, busy)).toFixed(1).padStart(5)} %  ${name}`)
}

class Inspector {
  readonly #socket: WebSocket
  readonly #waiting = new Map<number, { resolve: (result: string) => void; reject: (error: Error) => void }>()
  #calls = 0

  private constructor(socket: WebSocket) {
    this.#socket = socket
    socket.onmessage = ({ data }) => {
      const { id, result, error }: { id?: number; result?: unknown; error?: { message: string } } = JSON.parse(
        String(data),
      )
      if (id === undefined) return
      const waiting = this.#waiting.get(id)
      this.#waiting.delete(id)
      if (error) waiting?.reject(new Error(`inspector: ${error.message}`))
      else waiting?.resolve(JSON.stringify(result))
    }
  }

  static connect(url: string): Promise<Inspector> {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url)
      socket.onopen = () => resolve(new Inspector(socket))
      socket.onerror = () => reject(new Error(`the inspector at ${url} does not answer`))
    })
  }

  /** Returns the answer as JSON. */
  call(method: string, params: object = {}): Promise<string> {
    const id = ++this.#calls
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#socket.send(JSON.stringify({ id, method, params }))
    })
  }

  close(): void {
    this.#socket.close()
  }
}
