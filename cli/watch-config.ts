import { readFile } from 'node:fs/promises'
import { unwatchFile, watchFile } from 'node:fs'
import type { DeployAnswer } from '../protocol/messages/admin.ts'
import { namesOf } from './deploy-text.ts'
import { OperatorClient, Refused } from './operator.ts'

/** Editors write in several ways; looking now and then sees all of them. */
const LOOK_MS = 300

export interface WatchOptions {
  file: string
  /** What the edge began with. */
  text: string
  url: string
  jwtSecret: string
  jwtAudience: string
  say(line: string): void
}

/** Deploys the file whenever it has changed. `text`: what was deployed last, or tried. */
export function watchConfig({ file, text, url, jwtSecret, jwtAudience, say }: WatchOptions): { text(): string; close(): void } {
  let last = text
  let deploying = Promise.resolve()
  const deploy = async (): Promise<void> => {
    const yaml = await readFile(file, 'utf8').catch(() => last)
    if (yaml === last || yaml.trim() === '') return
    last = yaml
    try {
      const client = await OperatorClient.of({ url, token: undefined, jwtSecret, jwtAudience, data: '' })
      const { config, difference } = await client.ask<DeployAnswer>('PUT', 'sync-config?force=1', yaml)
      const { changed, again, added, removed } = namesOf(difference.definitions)
      const marked = { '~': changed, '+': [...again, ...added], '-': removed }
      const what = Object.entries(marked)
        .flatMap(([mark, names]) => names.map((name) => mark + name))
        .join(' ')
      say(`config     deploy ${config?.number ?? ''} ${what === '' ? 'changes nothing for clients' : what}`)
      for (const { place, code, message } of difference.warnings)
        say(`config     warning ${file}:${place.line}:${place.column} ${code}: ${message}`)
      for (const { table, reason } of difference.refused) say(`config     table ${table} cannot be followed: ${reason}`)
    } catch (error) {
      say('config     the old one goes on:')
      if (error instanceof Refused && error.findings.length > 0) {
        for (const { place, code, message } of error.findings) say(`config     ${file}:${place.line}:${place.column} ${code}: ${message}`)
      } else say(`config     ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  const changed = () => void (deploying = deploying.then(deploy))
  watchFile(file, { interval: LOOK_MS, persistent: false }, changed)
  return { text: () => last, close: () => unwatchFile(file, changed) }
}
