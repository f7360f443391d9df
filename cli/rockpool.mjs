#!/usr/bin/env node
// The tools need Node 22.12 or newer. An older Node starts the Node 24 that is installed with them, so this file may
// use nothing newer than Node 18.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { launchDev } from './launch.mjs'

const main = fileURLToPath(new URL('./main.ts', import.meta.url))
const args = process.argv.slice(2)
const [major, minor] = process.versions.node.split('.').map(Number)
const isNew = major > 23 || (major === 23 && minor >= 6)

function newNode() {
  if (isNew) return process.execPath
  const newer = fileURLToPath(new URL('../node_modules/node/bin/node', import.meta.url))
  if (existsSync(newer)) return newer
  console.error(`rockpool: Node ${process.versions.node} is too old and no newer one is installed: run npm ci`)
  process.exit(2)
}

if (args[0] === 'dev') launchDev(newNode(), [main, ...args])
else if (isNew) await import('./main.ts')
else {
  const child = spawn(newNode(), [main, ...args], { stdio: 'inherit' })
  // Ctrl-C goes to the whole process group. A signal to this process alone is passed on.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
    process.on(signal, () => signal !== 'SIGINT' && child.kill(signal))
  child.once('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 1)))
}
