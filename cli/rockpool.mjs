#!/usr/bin/env node
// The tools need Node 22.12 or newer; an older one starts the Node 24 that is installed beside them. Nothing newer than Node 18 may stand here.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const main = fileURLToPath(new URL('./main.ts', import.meta.url))
const [major, minor] = process.versions.node.split('.').map(Number)

if (major > 23 || (major === 23 && minor >= 6)) await import('./main.ts')
else {
  const newer = fileURLToPath(new URL('../node_modules/node/bin/node', import.meta.url))
  if (!existsSync(newer)) {
    console.error(`rockpool: Node ${process.versions.node} is too old and no newer one is installed: run npm ci`)
    process.exit(2)
  }
  const child = spawn(newer, [main, ...process.argv.slice(2)], { stdio: 'inherit' })
  // Ctrl-C goes to the whole group; what is sent to this process alone is passed on.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => signal !== 'SIGINT' && child.kill(signal))
  child.once('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 1)))
}
