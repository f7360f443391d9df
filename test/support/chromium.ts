import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'

/** Returns the path of a Chromium for the browser tests, or null. `CHROMIUM` may name one elsewhere. */
export function findChromium(): string | null {
  const places = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
  return places.find((path): path is string => path !== undefined && path !== '' && existsSync(path)) ?? null
}

/**
 * Installs Debian's package when there is no browser. Returns a message for the reader, or null when there was nothing
 * to do.
 */
export function provideChromium(): string | null {
  if (findChromium() !== null) return null
  if (process.getuid?.() !== 0)
    return 'no Chromium, and only root can install one: the browser tests will fail (apt-get install chromium, or set CHROMIUM)'
  const options: { stdio: 'inherit'; env: NodeJS.ProcessEnv } = {
    stdio: 'inherit',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  }
  console.log('no Chromium: installing the package chromium')
  spawnSync('apt-get', ['update', '-qq'], options)
  spawnSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'chromium'], options)
  return findChromium() === null
    ? 'apt-get could not install chromium: the browser tests will fail'
    : 'installed chromium by apt-get'
}
