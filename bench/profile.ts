import { mkdir, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { inspectors } from './inspector.ts'

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
 * Profiles all isolates that the inspector offers until the answered function is called; it writes `PATH-N.cpuprofile`, which browsers open, and
 * says where the time went.
 */
export async function startProfile(port: number, path: string, say: (line: string) => void): Promise<() => Promise<void>> {
  const sessions = await inspectors(port)
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
      // The isolates that miniflare has beside ours do next to nothing.
      if (lines.length > 0) for (const line of [`profile ${file}`, ...lines]) say(line)
      session.close()
    }
  }
}

/** Functions by the time spent in themselves. */
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
