import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { expect, test } from 'vitest'

// Arrows between folders point one way: what a folder may import, beside itself.
const ALLOWED: Record<string, readonly string[]> = {
  protocol: [],
  sources: ['protocol'],
  'sync-config': ['protocol'],
  'durable-objects': ['protocol', 'sources', 'sync-config'],
  workers: ['protocol', 'durable-objects', 'sync-config'],
  client: ['protocol'],
  cli: ['protocol', 'sources', 'sync-config', 'durable-objects'],
}
/** Files that import each other in a circle, largest first. There should be none; there may not be more. */
const CIRCLES = [18, 14, 2]

const ROOT = new URL('..', import.meta.url).pathname
const IMPORT = /(?:^|\n)(?:import|export)\s[^'"\n;]*?(?:\{[^}]*\}\s*)?from\s+'(\.[^']+)'/g

const files = Object.keys(ALLOWED).flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .map((file) => join(folder, file))
    .filter((file) => file.endsWith('.ts') && !/test|node_modules|dist\//.test(file)),
)
const imports = new Map(
  files.map((file) => {
    const all = [...readFileSync(join(ROOT, file), 'utf8').matchAll(IMPORT)].map(([, path = '']) => normalize(join(dirname(file), path)))
    return [file, all.filter((to) => to.endsWith('.ts'))]
  }),
)
const folderOf = (file: string): string => file.split('/')[0] ?? ''

test('folders import only what lies below them', () => {
  const wrong = [...imports].flatMap(([file, all]) =>
    all.filter((to) => folderOf(to) !== folderOf(file) && !ALLOWED[folderOf(file)]?.includes(folderOf(to))).map((to) => `${file} → ${to}`),
  )
  expect(imports.size).toBeGreaterThan(300)
  expect(wrong).toEqual([])
})

test('there are no more circles than there were', () => {
  expect(
    circles()
      .map(({ length }) => length)
      .sort((a, b) => b - a),
    circles()
      .map((each) => each.join(' '))
      .join('\n'),
  ).toEqual(CIRCLES)
})

/** Strongly connected files, after Tarjan. */
function circles(): string[][] {
  const order = new Map<string, number>()
  const low = new Map<string, number>()
  const stack: string[] = []
  const found: string[][] = []
  const visit = (file: string): number => {
    const number = order.size
    order.set(file, number)
    let lowest = number
    stack.push(file)
    for (const to of imports.get(file) ?? []) {
      if (!imports.has(to)) continue
      if (!order.has(to)) lowest = Math.min(lowest, visit(to))
      else if (stack.includes(to)) lowest = Math.min(lowest, low.get(to) ?? order.get(to) ?? lowest)
    }
    low.set(file, lowest)
    if (lowest === number) {
      const circle = stack.splice(stack.indexOf(file))
      if (circle.length > 1) found.push(circle.sort())
    }
    return lowest
  }
  for (const file of files) if (!order.has(file)) visit(file)
  return found
}
