import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

/**
 * The linter's configuration finds what it is for: all files are planted in a copy of the configuration, the linter runs
 * once, and every test looks for its file in the report.
 */
const repository = fileURLToPath(new URL('..', import.meta.url))
const biome = join(dirname(createRequire(import.meta.url).resolve('@biomejs/biome/package.json')), 'bin/biome')

const pure = ['base', 'raft-core', 'ranges', 'placement', 'raft-log', 'state', 'wire', 'replicas', 'router', 'node']
const globals = ['setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask', 'Date', 'performance', 'process']
const planted = [
  ...pure.map((name) => [`packages/${name}/src/clock.ts`, 'export const at = Date.now()']),
  ...[...globals, 'fetch', 'console', 'crypto', 'globalThis'].map((name) => [
    `packages/router/src/uses-${name.toLowerCase()}.ts`,
    `export const it = ${name}`,
  ]),
  ['packages/router/src/new-date.ts', 'export const at = new Date()'],
  ['packages/transport/src/clock.ts', 'export const at = Date.now()'],
  ['packages/server/src/timer.ts', "export { setTimeout } from 'node:timers/promises'"],
  ...pure.map((name) => [`packages/${name}/src/files.ts`, "export { open } from 'node:fs'"]),
  ['packages/wire/src/zip.ts', "export { crc32 } from 'node:zlib'"],
  ['packages/wire/src/late.ts', "export const fs = import('node:fs')"],
  ['packages/wire/src/bare.ts', "export { open } from 'fs'"],
  ['packages/cordillera/src/bare.ts', "export { open } from 'fs'"],
  ['packages/wire/src/CamelCase.ts', 'export const one = 1'],
  ['packages/wire/src/long.ts', `export function long(): void {\n${'  long()\n'.repeat(80)}}`],
]
const allowed = [
  ['packages/base/src/bytes.ts', "export { Buffer } from 'node:buffer'"],
  ['packages/raft-log/src/crc.ts', "export { crc32 } from 'node:zlib'"],
  ['packages/state/src/crc.ts', "export { crc32 } from 'node:zlib'"],
  ['packages/cordillera/src/clock.ts', 'export const at = Date.now()'],
  ['packages/cordillera/src/files.ts', "export { open } from 'node:fs'"],
  ['packages/transport/src/net.ts', "export { connect } from 'node:net'"],
  ['packages/wire/src/a.test.ts', 'export const at = Date.now()'],
  ['bench/clock.mjs', 'export const at = Date.now()'],
]
let root
let reported

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'cordillera-lint-'))
  for (const name of ['.biome.json', '.gitignore']) copyFileSync(join(repository, name), join(root, name))
  for (const [path, text] of [...planted, ...allowed]) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), `${text}\n`)
  }
  reported = new Set(lint().map(({ location }) => location.path))
})

afterAll(() => rmSync(root, { recursive: true, force: true }))

describe('refused', () => {
  test.each(planted)('%s: %s', (path) => expect(reported).toContain(path))
})

describe('allowed', () => {
  test.each(allowed)('%s: %s', (path) => expect(reported).not.toContain(path))
})

function lint() {
  try {
    execFileSync(process.execPath, [biome, 'lint', '--reporter=json', '--max-diagnostics=none', '.'], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    return []
  } catch (error) {
    return JSON.parse(error.stdout.toString()).diagnostics
  }
}
