import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type DiskHandle, NodeDisk, NodeDiskFile } from './node-disk.js'

/** The contract of `Disk` on the real file system. What only power loss could show is not tested here. */
let root: string
let disk: NodeDisk
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'cordillera-disk-'))
  disk = await NodeDisk.open(join(root, 'a', 'b'))
})
afterEach(() => rm(root, { recursive: true, force: true }))

const bytes = (text: string) => Buffer.from(text)

describe('a directory', () => {
  it('is made where it is missing, and opened where it is not', async () => {
    const again = await NodeDisk.open(join(root, 'a', 'b'))
    expect(await again.list()).toEqual([])
    expect((await stat(join(root, 'a', 'b'))).mode & 0o007).toBe(0)
  })

  it('lists files, not directories', async () => {
    await (await disk.open('one', { create: true })).close()
    await (await disk.open('two', { create: true })).close()
    await NodeDisk.open(join(root, 'a', 'b', 'inner'))
    expect((await disk.list()).sort()).toEqual(['one', 'two'])
  })

  it('renames over what is there, and removes', async () => {
    const file = await disk.open('from', { create: true })
    await file.write([bytes('new')], 0)
    await (await disk.open('to', { create: true })).close()
    await disk.rename('from', 'to')
    await disk.syncDirectory()
    expect(await disk.list()).toEqual(['to'])
    expect((await readFile(join(root, 'a', 'b', 'to'))).toString()).toBe('new')
    await file.close()
    await disk.remove('to')
    expect(await disk.list()).toEqual([])
  })

  it('refuses names that lead elsewhere', async () => {
    for (const name of ['../x', 'a/b', '..', '.', '', 'a\0b', 'a\\b']) {
      await expect(disk.open(name, { create: true })).rejects.toThrow('without a directory')
    }
  })

  it('says ENOENT for what is absent', async () => {
    await expect(disk.open('absent', { create: false })).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(disk.remove('absent')).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(disk.rename('absent', 'x')).rejects.toMatchObject({ code: 'ENOENT' })
  })
})

describe('a file', () => {
  it('keeps its content when it is opened to be created again', async () => {
    const file = await disk.open('f', { create: true })
    await file.write([bytes('kept')], 0)
    await file.sync()
    await file.close()
    const again = await disk.open('f', { create: true })
    expect(await again.size()).toBe(4)
    await again.close()
    await again.close()
  })

  it('reads less than asked only at its end', async () => {
    const file = await disk.open('f', { create: true })
    await file.write([bytes('0123456789')], 0)
    const target = Buffer.alloc(6)
    expect(await file.read(target, 7)).toBe(3)
    expect(target.toString()).toBe('789\0\0\0')
    expect(await file.read(target, 10)).toBe(0)
    expect(await file.read(target, 2)).toBe(6)
    expect(target.toString()).toBe('234567')
    await file.close()
  })

  it('is extended and cut', async () => {
    const file = await disk.open('f', { create: true })
    await file.truncate(1000)
    expect(await file.size()).toBe(1000)
    await file.write([bytes('x')], 1999)
    expect(await file.size()).toBe(2000)
    await file.truncate(3)
    expect(await file.size()).toBe(3)
    await file.close()
  })

  it('takes more chunks than one call of the kernel does', async () => {
    const file = await disk.open('f', { create: true })
    const chunks = Array.from({ length: 5_000 }, (_, i) => Buffer.alloc(i % 7, i))
    await file.write(chunks, 11)
    const whole = Buffer.concat(chunks)
    const read = Buffer.alloc(whole.length)
    expect(await file.read(read, 11)).toBe(whole.length)
    expect(read.equals(whole)).toBe(true)
    await file.close()
  })

  it('goes on where the kernel took less than it was given', async () => {
    const lengths = fc.infiniteStream(fc.integer({ min: 1, max: 9 }))
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 12 }), { maxLength: 6 }), lengths, async (chunks, taken) => {
        const whole = Buffer.concat(chunks)
        const model = Buffer.alloc(100)
        const writev = async (given: readonly Uint8Array[], position: number) => {
          const some = Buffer.concat(given).subarray(0, taken.next().value)
          some.copy(model, position)
          return { bytesWritten: some.length, buffers: given }
        }
        const write = async (chunk: Uint8Array, offset: number, length: number, position: number) =>
          writev([chunk.subarray(offset, offset + length)], position)
        await new NodeDiskFile({ write, writev } as unknown as DiskHandle).write(chunks, 3)
        expect(model.subarray(3, 3 + whole.length).equals(whole)).toBe(true)
      }),
    )
  })

  it('holds what an array would after any writes', async () => {
    const writes = fc.array(
      fc.record({ position: fc.nat(300), chunks: fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 5 }) }),
      { maxLength: 10 },
    )
    await fc.assert(
      fc.asyncProperty(writes, async (list) => {
        const file = await disk.open('p', { create: true })
        await file.truncate(0)
        const model = Buffer.alloc(1_000)
        let size = 0
        for (const { position, chunks } of list) {
          await file.write(chunks, position)
          const whole = Buffer.concat(chunks)
          whole.copy(model, position)
          if (whole.length > 0) size = Math.max(size, position + whole.length)
        }
        expect(await file.size()).toBe(size)
        const read = Buffer.alloc(size)
        await file.read(read, 0)
        expect(read.equals(model.subarray(0, size))).toBe(true)
        await file.close()
      }),
      { numRuns: 40 },
    )
  })
})
