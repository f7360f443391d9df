import { readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { chromium, type Browser, type BrowserContext } from 'playwright-core'
import { findChromium } from './chromium.ts'

const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run']
const args = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', ...quiet]

function executable(): string {
  const path = findChromium()
  if (path === null) throw new Error('there is no Chromium: apt-get install chromium, or set CHROMIUM')
  return path
}

/** A real Chromium without a window. Its contexts are private windows: nothing survives them. */
export async function startBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: executable(), args })
}

/** A real Chromium with a profile in a folder, as somebody's device has it: what is stored there survives the browser. */
export async function startDevice(profile: string): Promise<BrowserContext> {
  return chromium.launchPersistentContext(profile, { executablePath: executable(), args })
}

/** Ends the browser of a profile as a power cut would, without a word to it. */
export function killDevice(profile: string): void {
  // The lock of a profile is a link to "host-pid" (Chromium 150).
  const pid = Number(/-(\d+)$/.exec(readlinkSync(join(profile, 'SingletonLock')))?.[1])
  process.kill(pid, 'SIGKILL')
}
