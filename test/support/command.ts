import { spawn, type ChildProcess } from 'node:child_process'
import { ROOT } from '../../cli/bundle.ts'

/** A command that runs in the folder of the project, with its output so far. */
export interface Command {
  child: ChildProcess
  output: string
  ended: Promise<number | null>
}

export function startCommand(program: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Command {
  const child = spawn(program, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'], env })
  // At `close` all of its output has been read.
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  const command: Command = { child, output: '', ended }
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (text: Buffer) => (command.output += text.toString()))
  return command
}

/** Runs a script of the project to its end. */
export async function runScript(
  path: string,
  ...args: readonly string[]
): Promise<{ code: number | null; output: string }> {
  const command = startCommand(process.execPath, [path, ...args])
  const code = await command.ended
  return { code, output: command.output }
}
