import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { expect, test } from 'vitest'
import { ROOT } from '../cli/bundle.ts'

const inFolder = async (folder: string): Promise<string[]> =>
  (await readdir(join(ROOT, folder))).filter((name) => name.endsWith('.md')).map((name) => join(folder, name))
const files = (await Promise.all(['.', 'docs', 'docs/decisions'].map(inFolder))).flat()
const texts = new Map(
  await Promise.all(
    files.map(async (file): Promise<[string, string]> => [file, await readFile(join(ROOT, file), 'utf8')]),
  ),
)
const withoutCode = (text: string): string => text.replaceAll(/^```[^]*?^```$/gm, '')

/** Anchors of the headings of a page, as GitHub makes them. */
const anchors = (text: string): string[] =>
  [...withoutCode(text).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  )

test('every link of the documents leads to a file, and to a heading of it', () => {
  const links = [...texts].flatMap(([file, text]) =>
    [...withoutCode(text).matchAll(/\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]+))?\)/g)].map(
      ([whole, path = '', anchor]) => {
        const target = path === '' ? file : relative(ROOT, join(ROOT, dirname(file), path))
        return { from: `${file}: ${whole.slice(1)}`, target, anchor }
      },
    ),
  )
  expect(links.length).toBeGreaterThan(100)
  const broken = links.filter(
    ({ target, anchor }) =>
      !existsSync(join(ROOT, target)) || (anchor !== undefined && !anchors(texts.get(target) ?? '').includes(anchor)),
  )
  expect(broken.map(({ from }) => from)).toEqual([])
})

test('the README leads to every page', () => {
  const readme = texts.get('README.md') ?? ''
  const pages = files.filter((file) => dirname(file) === 'docs')
  expect(pages.filter((page) => !readme.includes(`(${page}`))).toEqual([])
})

test('every path that the architecture names is there', () => {
  const paths = [...withoutCode(texts.get('docs/architecture.md') ?? '').matchAll(/`([\w.-]+\/[^`\s]*)`/g)].map(
    ([, path = '']) => path,
  )
  expect(paths.length).toBeGreaterThan(80)
  expect(paths.filter((path) => !path.startsWith('/') && !existsSync(join(ROOT, path)))).toEqual([])
})
