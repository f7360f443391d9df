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

/** Starts a headless Chromium. Its contexts are private windows, which leave nothing behind. */
export async function startBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: executable(), args })
}

/**
 * Starts a Chromium with a profile in a folder, like a user's device: what it stores survives the browser.
 * `backForward`: pages are kept for the back button, which Playwright switches off.
 */
export async function startDevice(profile: string, { backForward = false } = {}): Promise<BrowserContext> {
  const ignoreDefaultArgs = backForward ? ['--disable-back-forward-cache'] : []
  return chromium.launchPersistentContext(profile, { executablePath: executable(), args, ignoreDefaultArgs })
}

/** Kills the browser of a profile, as a power cut would. */
export function killDevice(profile: string): void {
  process.kill(devicePid(profile), 'SIGKILL')
}

/** The process of the browser of a profile. */
export const devicePid = (profile: string): number =>
  // The lock of a profile is a link to "host-pid" (Chromium 150).
  Number(/-(\d+)$/.exec(readlinkSync(join(profile, 'SingletonLock')))?.[1])
