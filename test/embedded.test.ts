import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { ClassicLevel } from 'classic-level'
import { open } from 'cordillera'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { afterTest, scratchDirectory } from './scratch.js'

/** The database in a process of one's own: beside `classic-level`, killed, shared, and read while it is written. */
const WRITER = fileURLToPath(new URL('embedded-writer.mjs', import.meta.url))

test('any keys are iterated as classic-level iterates them, whatever the bounds', { timeout: 120_000 }, async () => {
  const directory = scratchDirectory()
  const encodings = { keyEncoding: 'buffer', valueEncoding: 'utf8' } as const
  const ours = open<Buffer, string>(join(directory, 'ours'), encodings)
  const theirs = new ClassicLevel<Buffer, string>(join(directory, 'theirs'), encodings)
  afterTest(() => Promise.all([ours.close(), theirs.close()]).then(() => {}))
  const key = fc.uint8Array({ minLength: 1, maxLength: 4 }).map((bytes) => Buffer.from(bytes))
  const bound = fc.option(key, { nil: undefined })
  const options = fc.record(
    { gt: bound, gte: bound, lt: bound, lte: bound, reverse: fc.boolean(), limit: fc.integer({ min: -1, max: 6 }) },
    { requiredKeys: [] },
  )
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(key, { maxLength: 20, selector: (k) => k.toString('hex') }),
      fc.array(options, { maxLength: 6 }),
      async (keys, all) => {
        await Promise.all([ours.clear(), theirs.clear()])
        const operations = keys.map((k, i) => ({ type: 'put' as const, key: k, value: `${i}` }))
        await Promise.all([ours.batch(operations), theirs.batch(operations)])
        for (const given of all) {
          const defined = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
          expect(await ours.iterator(defined).all()).toEqual(await theirs.iterator(defined).all())
        }
        const asked = [...keys, Buffer.from('absent')]
        expect(await ours.getMany(asked)).toEqual(await theirs.getMany(asked))
      },
    ),
    { numRuns: 60 },
  )
})

test('what was acknowledged is there after kill -9, and a batch is there whole or not at all', {
  timeout: 60_000,
}, async () => {
  const location = join(scratchDirectory(), 'db')
  for (let round = 0; round < 3; round++) {
    const writer = spawn(process.execPath, [WRITER, location], { stdio: ['ignore', 'pipe', 'inherit'] })
    const acknowledged: string[] = []
    const lines = createInterface({ input: writer.stdout })
    lines.on('line', (line) => acknowledged.push(line))
    while (acknowledged.length < 400) await once(lines, 'line')
    writer.kill('SIGKILL')
    await once(writer, 'close')
    const db = open(location)
    for (const line of acknowledged) {
      const [kind, name] = line.split(' ') as [string, string]
      const names = kind === 'put' ? [name] : [`a-${name}`, `z-${name}`]
      expect(await db.getMany(names)).toEqual(names.map(() => name))
    }
    const halves = async (letter: string) =>
      (await db.keys({ gt: `${letter}-`, lt: `${letter}.` }).all()).map((k) => k.slice(2))
    expect(await halves('a')).toEqual(await halves('z'))
    await db.clear()
    await db.close()
  }
})

test('databases of one location share its node, each a keyspace of its own, and another process is kept out', async () => {
  const location = join(scratchDirectory(), 'db')
  const [one, same, other] = [open(location), open(location), open(location, { keyspace: 'other' })]
  await Promise.all([one.put('', 'empty'), other.put('k', 'other')])
  expect([await same.get(''), await other.get(''), await one.get('k')]).toEqual(['empty', undefined, undefined])
  const stranger = spawn(process.execPath, [WRITER, location], { stdio: ['ignore', 'ignore', 'pipe'] })
  const said: Buffer[] = []
  stranger.stderr.on('data', (chunk: Buffer) => said.push(chunk))
  const [code] = await once(stranger, 'close')
  expect([code, Buffer.concat(said).toString()]).toEqual([1, expect.stringContaining('LEVEL_LOCKED')])
  await one.close()
  expect(await same.get('')).toBe('empty')
  await Promise.all([same.close(), other.close()])
  const again = open(location, { createIfMissing: false })
  expect(await again.get('')).toBe('empty')
  await again.close()
  await expect(open(location, { keyspace: 'nobody', createIfMissing: false }).open()).rejects.toMatchObject({
    cause: { code: 'LEVEL_MISSING' },
  })
})

test('what a read sees is fixed when it is called, and a batch is never seen in part', {
  timeout: 60_000,
}, async () => {
  const db = open(join(scratchDirectory(), 'db'))
  afterTest(() => db.close())
  await db.batch(['a', 'b', 'c'].map((key) => ({ type: 'put', key, value: '0' })))
  for (let i = 1; i <= 50; i++) {
    const before = `${i - 1}`
    const iterator = db.values().all()
    const snapshot = db.snapshot()
    const got = db.get('b')
    const many = db.getMany(['a', 'c'])
    const written = db.batch(['a', 'b', 'c'].map((key) => ({ type: 'put', key, value: `${i}` })))
    expect([await iterator, await got, await many]).toEqual([[before, before, before], before, [before, before]])
    await written
    expect([await db.get('a', { snapshot }), await db.get('a')]).toEqual([before, `${i}`])
    await snapshot.close()
  }
  let isOver = false
  const writer = (async () => {
    for (let i = 51; !isOver; i++) await db.batch(['a', 'b', 'c'].map((key) => ({ type: 'put', key, value: `${i}` })))
  })()
  for (let i = 0; i < 200; i++) {
    const [a, b, c] = i % 2 === 0 ? await db.values().all() : await db.getMany(['a', 'b', 'c'])
    expect([a, b]).toEqual([c, c])
  }
  isOver = true
  await writer
})

test('limits are errors with codes, and change nothing', async () => {
  const db = open<Buffer, Buffer>(join(scratchDirectory(), 'db'), { keyEncoding: 'buffer', valueEncoding: 'buffer' })
  afterTest(() => db.close())
  const [key, value] = [Buffer.alloc(4096, 'k'), Buffer.alloc(1 << 20, 'v')]
  await db.put(key, value)
  expect((await db.get(key))?.equals(value)).toBe(true)
  await expect(db.put(Buffer.alloc(4097), value)).rejects.toMatchObject({ code: 'KEY_TOO_LARGE' })
  await expect(db.put(key, Buffer.alloc((1 << 20) + 1))).rejects.toMatchObject({ code: 'VALUE_TOO_LARGE' })
  const large = Array.from({ length: 5 }, (_, i) => ({ type: 'put' as const, key: Buffer.from(`${i}`), value }))
  await expect(db.batch(large)).rejects.toMatchObject({ code: 'BATCH_TOO_LARGE' })
  await db.batch(large.slice(0, 3))
  expect((await db.keys().all()).map((k) => k.length)).toEqual([1, 1, 1, 4096])
})
