import { readFile, mkdir, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { evaluateCase } from '../sync-config/eval/case.ts'

export interface Io {
  out(text: string): void
  err(text: string): void
}

const USAGE = 'usage: rockpool eval CASE.json... [--out DIR]\n'

/**
 * `rockpool eval`: evaluates cases (a sync config, rows and requests) and prints each result, or writes NAME.json per case.
 * Exit code 0; 1 when a case could not be evaluated; 2 for wrong arguments.
 */
export async function run(args: string[], io: Io): Promise<number> {
  const files: string[] = []
  let out: string | undefined
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? ''
    if (arg === '--out') out = args[++i]
    else if (arg.startsWith('--out=')) out = arg.slice('--out='.length)
    else if (arg.startsWith('-')) return usage(io, `unknown option ${arg}`)
    else files.push(arg)
  }
  if (args.includes('--out') && out === undefined) return usage(io, '--out needs a folder')
  if (files.length === 0) return usage(io, 'name at least one case')
  if (out !== undefined) await mkdir(out, { recursive: true })
  let failed = 0
  for (const file of files) {
    try {
      const result = evaluateCase(await readFile(file, 'utf8'))
      if (out === undefined) io.out(`${result}\n`)
      else await writeFile(join(out, basename(file)), `${result}\n`)
    } catch (error) {
      failed++
      io.err(`${file}: ${error instanceof Error ? error.message : String(error)}\n`)
    }
  }
  return failed > 0 ? 1 : 0
}

function usage(io: Io, problem: string): number {
  io.err(`${problem}\n${USAGE}`)
  return 2
}
