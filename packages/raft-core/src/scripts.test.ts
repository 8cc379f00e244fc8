import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { Script } from './testing/script.js'

/**
 * Runs `testdata/*.txt`: a paragraph of `#` lines, then commands, each begun by `> ` and followed by its output.
 * CORDILLERA_REWRITE=1 writes the outputs anew; read the difference before you keep it.
 */
const directory = new URL('../testdata/', import.meta.url)
const isRewriting = process.env.CORDILLERA_REWRITE === '1'

describe('scripts', () => {
  for (const name of readdirSync(directory).filter((file) => file.endsWith('.txt'))) {
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
