import { Buffer } from 'node:buffer'
import { fork } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Clock } from '@cordillera/base'
import { silentLogger } from '@cordillera/base'
import { Write } from '@cordillera/ranges'
import { StateStore, stateEngineContract } from '@cordillera/state'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ClassicLevelEngine } from './classic-level-engine.js'

let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'cordillera-engine-'))
})

afterEach(() => rm(directory, { recursive: true, force: true }))

stateEngineContract({ describe, it, expect }, 'classic-level', async () => {
  const own = await mkdtemp(join(tmpdir(), 'cordillera-engine-'))
  return {
    open: () => ClassicLevelEngine.open(join(own, 'state')),
    dispose: () => rm(own, { recursive: true, force: true }),
  }
})

describe('opening a classic-level database', () => {
  it('twice in one process is refused, and possible again after closing', async () => {
    const engine = await ClassicLevelEngine.open(directory)
    await expect(ClassicLevelEngine.open(directory)).rejects.toMatchObject({ code: 'DIRECTORY_IN_USE' })
    await engine.close()
    await (await ClassicLevelEngine.open(directory)).close()
  })

  it('that another process has open is refused', async () => {
    const holder = join(directory, 'holder.mjs')
    const classicLevel = import.meta.resolve('classic-level')
    await writeFile(
      holder,
      `import level from ${JSON.stringify(classicLevel)}
      await new level.ClassicLevel(${JSON.stringify(join(directory, 'db'))}).open()
      process.send('open')
      process.on('message', () => process.exit(0))`,
    )
    const child = fork(holder)
    try {
      await new Promise((resolve, reject) => {
        child.once('message', resolve)
        child.once('exit', (code) => reject(new Error(`the holder ended early with ${code}`)))
      })
      await expect(ClassicLevelEngine.open(join(directory, 'db'))).rejects.toMatchObject({
        code: 'DIRECTORY_IN_USE',
        details: { directory: join(directory, 'db') },
      })
    } finally {
      child.kill('SIGKILL')
    }
  })

  it('that is no directory, or damaged, is refused with the reason', async () => {
    const file = join(directory, 'file')
    await writeFile(file, '')
    await expect(ClassicLevelEngine.open(file)).rejects.toMatchObject({ code: 'DIRECTORY_INVALID' })
    const engine = await ClassicLevelEngine.open(join(directory, 'db'))
    await engine.close()
    await writeFile(join(directory, 'db', 'CURRENT'), 'garbage')
    const refusal = ClassicLevelEngine.open(join(directory, 'db'))
    await expect(refusal).rejects.toMatchObject({
      code: 'DIRECTORY_INVALID',
      message: expect.stringContaining('CURRENT'),
    })
  })
})

describe('a state store on classic-level', () => {
  const clock: Clock = {
    now: () => performance.now(),
    wallMs: () => Date.now(),
    after: (delayMs, callback) => {
      const timer = setTimeout(callback, delayMs)
      return { cancel: () => clearTimeout(timer) }
    },
    defer: (callback) => void setImmediate(callback),
  }

  it('keeps what was flushed, serves scans over overlay and disk, and goes on after reopening', async () => {
    const open = async (): Promise<StateStore> =>
      StateStore.open({ engine: await ClassicLevelEngine.open(directory), clock, logger: silentLogger })
    let store = await open()
    const descriptor = {
      rangeId: 1,
      start: '',
      end: null,
      epoch: { version: 1, confVersion: 1 },
      replicas: [{ replicaId: 7, nodeId: 1, type: 'voter' as const }],
    }
    let replica = await store.createReplica(descriptor, 7, { index: 0, term: 0 })
    const apply = (index: number, key: string, value: string | undefined): void => {
      const bytes = value === undefined ? undefined : Buffer.from(value)
      store.apply(replica, index, 1, [Write.of(key, index, bytes)])
    }
    for (let i = 1; i <= 3000; i++) apply(i, `\xe9${i % 500}`, `flushed ${i}`)
    expect((await store.flush()).get(7)).toBe(3000)
    apply(3001, '\xe90', undefined)
    apply(3002, '\xe91', 'unflushed')
    const request = { at: 0, start: '\xe9', end: '\xea', reverse: false, limit: 3, bytesMax: 1 << 20, values: true }
    const page = await store.scan(request)
    expect(page.entries.map(({ key, version }) => [key, version])).toEqual([
      ['\xe91', 3002],
      ['\xe910', 2510],
      ['\xe9100', 2600],
    ])
    expect(page.more).toBe(true)
    await store.close()

    store = await open()
    replica = store.replicas.get(7)!
    expect(replica).toMatchObject({ appliedIndex: 3002, flushedIndex: 3002, descriptor })
    expect(store.get('\xe90')).toBeUndefined()
    expect(Buffer.from(store.get('\xe91')!.value).toString()).toBe('unflushed')
    expect((await store.scan({ ...request, limit: 10_000, reverse: true })).entries).toHaveLength(499)
    await store.close()
  })
})
