import { Buffer } from 'node:buffer'
import { CordilleraError, type Key } from '@cordillera/base'
import type { EngineBatch, EngineIterator, EngineSnapshot, StateEngine } from '@cordillera/state'
import { ClassicLevel, type Iterator } from 'classic-level'

/**
 * The state database on a real disk: LevelDB, by way of `classic-level`.
 *
 * Keys are handed over as JavaScript strings and lie on disk as their UTF-8 encoding, which keeps the order of chars;
 * as chars are bytes here, none takes more than two. Every batch is written with `sync: true`. LevelDB's own lock
 * makes sure that one process at a time has the directory open. What LevelDB returns is not verified here: it can lose
 * and alter data silently, so its users keep checksums of what must be trusted.
 */
export class ClassicLevelEngine implements StateEngine {
  readonly #db: Database
  /** Reused by {@link get}. */
  #keyBytes = Buffer.allocUnsafeSlow(512)

  /**
   * Opens the database in `directory`, made when absent. Throws `DIRECTORY_IN_USE` when another process (or another
   * engine of this one) has it open, `DIRECTORY_INVALID` when it cannot be opened for any other reason.
   */
  static async open(directory: string): Promise<ClassicLevelEngine> {
    const db: Database = new ClassicLevel<Key, Buffer>(directory, OPTIONS)
    try {
      await db.open()
    } catch (error) {
      await db.close().catch(() => undefined)
      throw openFailure(directory, error)
    }
    return new ClassicLevelEngine(db)
  }

  private constructor(db: Database) {
    this.#db = db
  }

  /**
   * The key is encoded here: `getSync` of classic-level 3.0.0, given a string, cuts a key that ends a byte short of its
   * internal buffer in the middle of a char, and answers with the value of another key.
   */
  get(key: Key): Uint8Array | undefined {
    const lengthMax = 2 * key.length
    if (lengthMax > this.#keyBytes.length) this.#keyBytes = Buffer.allocUnsafeSlow(2 * lengthMax)
    const length = this.#keyBytes.write(key, 0, 'utf8')
    return this.#db.getSync(this.#keyBytes.subarray(0, length), BYTES)
  }

  snapshot(): EngineSnapshot {
    const db = this.#db
    const snapshot = db.snapshot()
    return {
      iterate: ({ start, end, reverse }) => {
        const span = end === null ? { gte: start } : { gte: start, lt: end }
        return new ClassicLevelIterator(
          db.iterator<Key, Buffer>({ ...span, reverse, snapshot, highWaterMarkBytes: CHUNK_BYTES }),
        )
      },
      close: () => snapshot.close(),
    }
  }

  batch(): EngineBatch {
    const batch = this.#db.batch()
    return {
      put: (key, value) => void batch.put(key, value as Buffer),
      delete: (key) => void batch.del(key),
      write: () => batch.write(DURABLY),
    }
  }

  approximateBytes({ start, end }: { readonly start: Key; readonly end: Key }): Promise<number> {
    return this.#db.approximateSize(start, end)
  }

  close(): Promise<void> {
    return this.#db.close()
  }
}

type Database = ClassicLevel<Key, Buffer>

const MIB = 1 << 20

/** Measured; see `packages/state/decisions/0004-classic-level-options.md`. */
const OPTIONS = {
  keyEncoding: 'utf8',
  valueEncoding: 'buffer',
  /** A flush of the overlay is one batch, and lies in one buffer however large it is. */
  writeBufferSize: 32 * MIB,
  cacheSize: 64 * MIB,
  maxFileSize: 8 * MIB,
  compression: false,
} as const

const BYTES = { keyEncoding: 'buffer', valueEncoding: 'buffer' } as const
const DURABLY = { sync: true } as const
/** What an iterator reads ahead in its own thread. */
const CHUNK_BYTES = 256 << 10

class ClassicLevelIterator implements EngineIterator {
  readonly #iterator: Iterator<Database, Key, Buffer>

  constructor(iterator: Iterator<Database, Key, Buffer>) {
    this.#iterator = iterator
  }

  next(count: number): Promise<readonly (readonly [Key, Uint8Array])[]> {
    return this.#iterator.nextv(count)
  }

  close(): Promise<void> {
    return this.#iterator.close()
  }
}

function openFailure(directory: string, error: unknown): CordilleraError {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
  const details = { directory }
  if (cause instanceof Error && 'code' in cause && cause.code === 'LEVEL_LOCKED') {
    const detail = `another process has the state database in ${directory} open`
    return new CordilleraError('DIRECTORY_IN_USE', { detail, details, cause })
  }
  const why = cause instanceof Error ? cause.message : String(cause)
  const detail = `the state database in ${directory} cannot be opened: ${why}`
  return new CordilleraError('DIRECTORY_INVALID', { detail, details, cause })
}
