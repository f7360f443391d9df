import { chromium, type Browser } from 'playwright-core'
import { findChromium } from './chromium.ts'

/** A real Chromium without a window. */
export async function startBrowser(): Promise<Browser> {
  const executablePath = findChromium()
  if (executablePath === null) throw new Error('there is no Chromium: apt-get install chromium, or set CHROMIUM')
  const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run']
  return chromium.launch({ executablePath, args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', ...quiet] })
}
