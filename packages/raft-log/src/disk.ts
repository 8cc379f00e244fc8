/**
 * The one directory of files that a store lives in. Implemented on the real file system, in memory with crashes, and
 * by the simulator. Names are plain file names, without separators.
 *
 * Nothing is durable before the named call has resolved: bytes by {@link DiskFile.sync} or
 * {@link DiskFile.writeThrough}, names (creation, renaming, removal) by {@link Disk.syncDirectory}. Any call rejects with the platform's error (`code` such as EIO, ENOSPC).
 */
export interface Disk {
  /** The names of the files present, in no order. */
  list(): Promise<string[]>
  /** Opens a file for reading and writing; `create` makes it when absent (without it, absence rejects with ENOENT). */
  open(name: string, options: { readonly create: boolean }): Promise<DiskFile>
  /** Atomic; replaces `to`. */
  rename(from: string, to: string): Promise<void>
  remove(name: string): Promise<void>
  syncDirectory(): Promise<void>
  /** How much may still be written by this process, all files of the disk together; infinite where there is no end. */
  freeBytes(): Promise<number>
}

export interface DiskFile {
  size(): Promise<number>
  /** Reads into `target`, from `position`; resolves to the number of bytes read, less than asked only at the end. */
  read(target: Uint8Array, position: number): Promise<number>
  /** Writes the chunks one behind the other at `position`. They must not change until it resolves. */
  write(chunks: readonly Uint8Array[], position: number): Promise<void>
  /**
   * As {@link write}, and durable when it resolves, as if a {@link sync} of these bytes alone had followed. What other
   * writes have left unsynced stays so.
   */
  writeThrough(chunks: readonly Uint8Array[], position: number): Promise<void>
  /** `fdatasync`: what was written before the call survives power loss. */
  sync(): Promise<void>
  truncate(size: number): Promise<void>
  /** Idempotent. Does not sync. */
  close(): Promise<void>
}
