import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'cordillera'
import tape from 'tape'

/**
 * `node test/abstract-level-suite.mjs`: the suite that `abstract-level` publishes for its implementers, unmodified, against an
 * embedded node. Every database of the suite is a keyspace of its own on the one node that serves the whole run. TAP goes
 * to the standard output; the last line counts tests and assertions.
 */
const suite = createRequire(import.meta.url)('abstract-level/test')

const location = mkdtempSync(join(tmpdir(), 'cordillera-suite-'))
const counts = { tests: 0, assertions: 0, failed: 0 }
let keyspaces = 0

/** Keeps the node while the suite's databases come and go. */
const keeper = open(location, { keyspace: 'keeper' })
await keeper.open()

tape.createStream({ objectMode: true }).on('data', (row) => {
  if (row.type === 'test') counts.tests++
  if (row.type !== 'assert') return
  counts.assertions++
  if (row.ok) return
  counts.failed++
  console.log(`not ok: ${row.name}\n${row.error?.stack ?? JSON.stringify(row)}`)
})
tape.onFinish(async () => {
  await keeper.close()
  rmSync(location, { recursive: true, force: true })
  const { tests, assertions, failed } = counts
  console.log(`${tests} tests, ${assertions} assertions, ${failed} failed, ${keyspaces} keyspaces`)
  process.exitCode = failed === 0 ? 0 : 1
})

suite({
  test: tape,
  factory: (options) => open(location, { ...options, keyspace: `suite-${++keyspaces}` }),
})
