import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { evaluateCase } from '../sync-config/cases/case.ts'
import { usageOf } from './help.ts'
import { parse, type Parsed } from './options.ts'

export interface Io {
  out(text: string): void
  err(text: string): void
}

/**
 * `rockpool eval`: evaluates cases (a sync config, rows and requests) of files and folders, and prints each result as
 * one line, or writes NAME.json per case. A case that cannot be evaluated is reported and does not stop the others.
 * Exit code 0; 1 when there was such a case; 2 for wrong arguments.
 */
export async function run(args: string[], io: Io): Promise<number> {
  let parsed: Parsed
  try {
    parsed = parse('eval', args)
  } catch (error) {
    return usage(io, messageOf(error))
  }
  const paths = parsed.positionals
  const out = parsed.text('out')
  const copyTraps = !parsed.flag('as-deployed')
  if (out === '') return usage(io, '--out needs a folder')
  if (paths.length === 0) return usage(io, 'name at least one case')
  if (out !== undefined) {
    try {
      await mkdir(out, { recursive: true })
    } catch (error) {
      return usage(io, `--out ${out} cannot be made: ${messageOf(error)}`)
    }
  }
  let failed = 0
  for (const path of paths) {
    const files = await casesAt(path).catch((error: unknown) => {
      failed++
      io.err(`${path}: ${messageOf(error)}\n`)
      return []
    })
    for (const file of files) {
      try {
        const result = evaluateCase(await readFile(file, 'utf8'), { copyTraps })
        if (out === undefined) io.out(`${result}\n`)
        else await writeFile(join(out, `${basename(file, '.json')}.json`), `${result}\n`)
      } catch (error) {
        failed++
        io.err(`${file}: ${messageOf(error)}\n`)
      }
    }
  }
  return failed > 0 ? 1 : 0
}

/** Returns the file itself, or the JSON files of a folder. */
async function casesAt(path: string): Promise<string[]> {
  if (!(await stat(path)).isDirectory()) return [path]
  const names = (await readdir(path)).filter((name) => name.endsWith('.json')).sort()
  if (names.length === 0) throw new Error('there is no .json file in this folder')
  return names.map((name) => join(path, name))
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

function usage(io: Io, problem: string): number {
  io.err(`${problem}\n${usageOf('eval')}\n`)
  return 2
}
