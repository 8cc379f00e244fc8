import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { Script } from './testing/script.js'

/**
 * Runs `testdata/*.txt`: a paragraph of `#` lines, then commands, each begun by `> ` and followed by its output.
 * CORDILLERA_REWRITE=1 writes the outputs anew; read the difference before you keep it.
 */
const directory = new URL('../testdata/', import.meta.url)
const isRewriting = process.env.CORDILLERA_REWRITE === '1'

const names = readdirSync(directory).filter((file) => file.endsWith('.txt'))

/** What a script is about: its opening remarks, as one line. */
function openingOf(name: string): string {
  const lines = readFileSync(new URL(name, directory), 'utf8').split('\n')
  const end = lines.findIndex((line) => !line.startsWith('#'))
  return lines
    .slice(0, end)
    .map((line) => line.slice(2))
    .join(' ')
}

/** Figures and sections of the paper and the thesis, and the rows of the list of failures that fall to the core. */
const subjects = [
  ...[
    'Figure 7 of the paper',
    'Figure 8 of the paper',
    'paper 5.2',
    'paper 5.3',
    'paper 5.4.1',
    'paper 5.4.2',
    'paper 6',
  ],
  ...[
    'thesis 3.10',
    'thesis 4.2.1',
    'thesis 4.2.2',
    'thesis 4.2.3',
    'thesis 4.3',
    'thesis 6.2',
    'thesis 6.4',
    'thesis 6.4.1',
  ],
  ...['thesis 9.6', 'thesis 10.2.1'],
  ...[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12].map((row) => `FAILURES #${row}`),
]

describe('scripts', () => {
  it.each(subjects)('show %s, and say so at the beginning', (subject) => {
    const isNamed = new RegExp(`${subject.replaceAll('.', '[.]')}(?![.]?\\d)`)
    expect(names.filter((name) => isNamed.test(openingOf(name)))).not.toEqual([])
  })

  for (const name of names) {
    it(name, () => {
      const file = new URL(name, directory)
      const text = readFileSync(file, 'utf8')
      expect(text, 'a script says what it shows').toMatch(/^# \S/)
      const script = new Script()
      let actual = ''
      for (const line of text.split('\n')) {
        if (line.startsWith('> ')) actual += `${line}\n${script.run(line.slice(2))}`
        else if (line.startsWith('#') || line === '') actual += `${line}\n`
      }
      actual = `${actual.trimEnd()}\n`
      if (isRewriting) writeFileSync(file, actual)
      expect(actual).toBe(isRewriting ? actual : text)
    })
  }
})

describe('the index of the README', () => {
  const home = new URL('../', import.meta.url)
  const readme = readFileSync(new URL('README.md', home), 'utf8')
  const targets = [...readme.matchAll(/^\[[^\]]+\]: (\S+)$/gm)].map(([, target]) => target!)

  it('has every script, and nothing that is not there', () => {
    expect(names.filter((name) => !targets.includes(`testdata/${name}`))).toEqual([])
    expect(targets.filter((target) => !existsSync(new URL(target, home)))).toEqual([])
  })

  it('names functions where they are', () => {
    const named = [...readme.matchAll(/((?:`[^`]+`(?:, )?)+) \(\[([a-z-]+[.]ts)\]\)/g)]
    expect(named.length).toBeGreaterThan(60)
    for (const [, functions, file] of named) {
      const source = readFileSync(new URL(`src/${file}`, home), 'utf8')
      for (const [, name] of functions!.matchAll(/(\w+)`/g)) expect(source, `${name} in ${file}`).toMatch(`${name}`)
    }
  })
})
