import { CordilleraError } from '@cordillera/base'
import type { Disk } from '@cordillera/raft-log'

/**
 * Small files that are read whole and replaced whole: the new one is written and synced under another name, renamed over the old
 * one, and the directory is synced. After a crash there is the old one or the new one.
 */

const BYTES_MAX = 64 << 20

/** Undefined: there is none. Throws `CORRUPT` when it is larger than any of ours, or cut off while it is read. */
export async function readSmallFile(disk: Disk, name: string): Promise<Uint8Array | undefined> {
  if (!(await disk.list()).includes(name)) return undefined
  const file = await disk.open(name, { create: false })
  try {
    const size = await file.size()
    if (size > BYTES_MAX) throw new CordilleraError('CORRUPT', { detail: 'it is too large' })
    const bytes = new Uint8Array(size)
    if ((await file.read(bytes, 0)) !== size) throw new CordilleraError('CORRUPT', { detail: 'it is cut off' })
    return bytes
  } finally {
    await file.close()
  }
}

/** Durable when it resolves. Rejects with the disk's error. One at a time. */
export async function replaceSmallFile(disk: Disk, name: string, bytes: Uint8Array): Promise<void> {
  const next = `${name}.next`
  const file = await disk.open(next, { create: true })
  try {
    await file.truncate(0)
    await file.write([bytes], 0)
    await file.sync()
  } finally {
    await file.close()
  }
  await disk.rename(next, name)
  await disk.syncDirectory()
}
