import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { unwatchFile, watchFile } from 'node:fs'
import type { DeployAnswer } from '../protocol/messages/admin.ts'
import { namesOf } from './deploy-text.ts'
import { AS_YAML, OperatorClient } from './operator.ts'
import { Refused } from './refused.ts'

/** The file is polled because editors write in several ways, and polling sees all of them. */
const LOOK_MS = 300

export interface WatchOptions {
  file: string
  /** The text with which the edge was started. */
  text: string
  url: string
  jwtSecret: string
  jwtAudience: string
  say(line: string): void
  /** Called when this text was deployed, or tried. */
  taken(text: string): Promise<void>
}

export interface WatchedConfig {
  /** The text that was last deployed, or tried. */
  text(): string
  /** Deploys the file as if it had changed. */
  deploy(): Promise<void>
  close(): void
}

/** Deploys the file whenever it has changed. */
export function watchConfig({ file, text, url, jwtSecret, jwtAudience, say, taken }: WatchOptions): WatchedConfig {
  let last: string | null = text
  let deploying = Promise.resolve()
  const look = async (): Promise<void> => {
    const yaml = await readSettled(file)
    if (yaml === last) return
    last = yaml
    if (yaml === null || yaml.trim() === '')
      say(`config     ${file} ${yaml === null ? 'cannot be read' : 'is empty'}: the old one continues to serve`)
    else await deploy(yaml)
  }
  const deploy = async (yaml: string): Promise<void> => {
    try {
      const client = await OperatorClient.of({ url, token: undefined, access: null, jwtSecret, jwtAudience, data: '' })
      const { config, difference } = await client.ask<DeployAnswer>('PUT', 'sync-config?force=1', yaml, AS_YAML)
      const { changed, again, added, removed } = namesOf(difference.definitions)
      const marked = { '~': changed, '+': [...again, ...added], '-': removed }
      const what = Object.entries(marked)
        .flatMap(([mark, names]) => names.map((name) => mark + name))
        .join(' ')
      say(`config     deploy ${config?.number ?? ''} ${what === '' ? 'changes nothing for clients' : what}`)
      for (const { level = 'warning', place, code, message } of difference.warnings)
        say(`config     ${level} ${file}:${place.line}:${place.column} ${code}: ${message}`)
      for (const { table, reason } of difference.refused) say(`config     table ${table} cannot be followed: ${reason}`)
    } catch (error) {
      say('config     the old one continues to serve:')
      if (error instanceof Refused && error.findings.length > 0) {
        for (const { place, code, message } of error.findings)
          say(`config     ${file}:${place.line}:${place.column} ${code}: ${message}`)
      } else say(`config     ${error instanceof Error ? error.message : String(error)}`)
    }
    await taken(yaml)
  }
  const next = (work: () => Promise<void>): Promise<void> => (deploying = deploying.then(work))
  const changed = () => void next(look)
  watchFile(file, { interval: LOOK_MS, persistent: false }, changed)
  return {
    text: () => last ?? '',
    deploy: () => next(() => deploy(last ?? '')),
    close: () => unwatchFile(file, changed),
  }
}

/** Returns null when the file cannot be read. An editor may empty or remove the file before it writes. */
async function readSettled(file: string): Promise<string | null> {
  const read = () => readFile(file, 'utf8').catch(() => null)
  const text = await read()
  if (text !== null && text.trim() !== '') return text
  await sleep(LOOK_MS)
  return read()
}
