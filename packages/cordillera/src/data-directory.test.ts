import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CordilleraError } from '@cordillera/base'
import type { StateEngine } from '@cordillera/state'
import { ClassicLevel } from 'classic-level'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DataDirectory } from './data-directory.js'

/** One process at a time has a directory; who is refused is told who has it. The lock here is LevelDB's own. */
let root: string
const open: ClassicLevel[] = []
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'cordillera-data-'))
})
afterEach(async () => {
  for (const db of open.splice(0)) await db.close()
  await rm(root, { recursive: true, force: true })
})

const owner = { http: '127.0.0.1:7070', peer: '127.0.0.1:7100' }
const take = (path: string) =>
  DataDirectory.take(path, owner, async (location) => {
    const db = new ClassicLevel(location)
    await db.open()
    open.push(db)
    return db as unknown as StateEngine
  })

describe('a data directory', () => {
  it('is made with its parts, and holds nothing of an identity at first', async () => {
    const directory = await take(join(root, 'new'))
    expect((await readdir(join(root, 'new'))).sort()).toEqual(['log', 'run', 'state'])
    expect(await directory.identityDisk.list()).toEqual([])
    expect(await directory.logDisk.list()).toEqual([])
  })

  it('is refused while another has it, with the process that does', async () => {
    await take(root)
    const refused = take(root)
    await expect(refused).rejects.toMatchObject({ code: 'DIRECTORY_IN_USE', details: { pid: process.pid, ...owner } })
    await expect(refused).rejects.toThrow(`process ${process.pid} on`)
  })

  it('is refused without a name when nobody left one', async () => {
    const directory = await take(root)
    await directory.release()
    await directory.release()
    await expect(take(root)).rejects.toThrow('another process')
    await writeFile(join(root, 'run', 'owner.json'), '{"pid":')
    await expect(take(root)).rejects.toThrow('another process')
  })

  it('is free again when the lock is, whatever the owner file says', async () => {
    await take(root)
    await open.pop()!.close()
    await expect(take(root)).resolves.toBeInstanceOf(DataDirectory)
  })

  it('that cannot be one is refused as such', async () => {
    await writeFile(join(root, 'file'), 'x')
    await expect(take(join(root, 'file'))).rejects.toMatchObject({ code: 'DIRECTORY_INVALID' })
    const coded = new CordilleraError('CORRUPT')
    await expect(DataDirectory.take(root, owner, () => Promise.reject(coded))).rejects.toBe(coded)
  })
})
