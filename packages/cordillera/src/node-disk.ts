import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, rename, statfs, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { platform } from 'node:process'
import { assert } from '@cordillera/base'
import type { Disk, DiskFile } from '@cordillera/raft-log'

/**
 * One directory of the real file system as a `Disk`.
 *
 * A write resolves when every byte was taken by the kernel, in as few calls as it allows; a sync is `fdatasync`, and a
 * directory is synced through a handle of its own. Nothing is retried: the first error of the platform is the answer.
 * Subdirectories are not seen. Files are readable by their owner and group alone.
 */
export class NodeDisk implements Disk {
  readonly #path: string

  private constructor(path: string) {
    this.#path = path
  }

  /** Makes the directory, and what is above it, where they are missing. */
  static async open(path: string): Promise<NodeDisk> {
    const created = await mkdir(path, { recursive: true, mode: 0o750 })
    if (created !== undefined) await syncDirectory(join(created, '..'))
    return new NodeDisk(path)
  }

  async list(): Promise<string[]> {
    const entries = await readdir(this.#path, { withFileTypes: true })
    return entries.filter((entry) => entry.isFile()).map((entry) => entry.name)
  }

  async open(name: string, { create }: { readonly create: boolean }): Promise<DiskFile> {
    const path = this.#pathOf(name)
    const handle = await open(path, constants.O_RDWR | (create ? constants.O_CREAT : 0), 0o640)
    if (!HAS_DSYNC) return new NodeDiskFile(handle)
    try {
      return new NodeDiskFile(handle, await open(path, constants.O_RDWR | constants.O_DSYNC))
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  rename(from: string, to: string): Promise<void> {
    return rename(this.#pathOf(from), this.#pathOf(to))
  }

  remove(name: string): Promise<void> {
    return unlink(this.#pathOf(name))
  }

  syncDirectory(): Promise<void> {
    return syncDirectory(this.#path)
  }

  /** What the file system keeps for root is not counted. */
  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.#path)
    return bavail * bsize
  }

  #pathOf(name: string): string {
    assert(/^[^/\\\0]+$/.test(name) && name !== '.' && name !== '..', 'a file is named without a directory')
    return join(this.#path, name)
  }
}

const HAS_DSYNC = platform === 'linux'

/** The calls of the platform that a file makes. */
export type DiskHandle = Pick<FileHandle, 'stat' | 'read' | 'write' | 'writev' | 'datasync' | 'truncate' | 'close'>

/**
 * A file, and on Linux a second handle of it whose every write is also an `fdatasync` of what it wrote (`O_DSYNC`): one
 * trip through the thread pool instead of two, see decisions/0003. Elsewhere the flag promises less than `fdatasync`.
 */
export class NodeDiskFile implements DiskFile {
  readonly #handle: DiskHandle
  readonly #through: DiskHandle | undefined
  #closing: Promise<void> | undefined

  constructor(handle: DiskHandle, through?: DiskHandle) {
    this.#handle = handle
    this.#through = through
  }

  async size(): Promise<number> {
    return (await this.#handle.stat()).size
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    let done = 0
    while (done < target.length) {
      const { bytesRead } = await this.#handle.read(target, done, target.length - done, position + done)
      if (bytesRead === 0) break
      done += bytesRead
    }
    return done
  }

  write(chunks: readonly Uint8Array[], position: number): Promise<void> {
    return writeAll(this.#handle, chunks, position)
  }

  async writeThrough(chunks: readonly Uint8Array[], position: number): Promise<void> {
    if (this.#through !== undefined) return writeAll(this.#through, chunks, position)
    await writeAll(this.#handle, chunks, position)
    await this.#handle.datasync()
  }

  sync(): Promise<void> {
    return this.#handle.datasync()
  }

  truncate(size: number): Promise<void> {
    return this.#handle.truncate(size)
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await Promise.all([this.#handle.close(), this.#through?.close()])
  }
}

async function writeAll(handle: DiskHandle, chunks: readonly Uint8Array[], position: number): Promise<void> {
  let rest = chunks
  let at = position
  while (rest.length > 0) {
    const written = await writeSome(handle, rest, at)
    at += written
    rest = behind(rest, written)
  }
}

async function writeSome(handle: DiskHandle, chunks: readonly Uint8Array[], position: number): Promise<number> {
  if (chunks.length === 1) {
    const chunk = chunks[0]!
    return (await handle.write(chunk, 0, chunk.length, position)).bytesWritten
  }
  return (await handle.writev(chunks as Uint8Array[], position)).bytesWritten
}

/** What is left of the chunks behind their first `count` bytes; empty chunks at the front are dropped. */
function behind(chunks: readonly Uint8Array[], count: number): readonly Uint8Array[] {
  let left = count
  let first = 0
  while (first < chunks.length && left >= chunks[first]!.length) left -= chunks[first++]!.length
  if (first === chunks.length) return []
  return left === 0 ? chunks.slice(first) : [chunks[first]!.subarray(left), ...chunks.slice(first + 1)]
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY)
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
