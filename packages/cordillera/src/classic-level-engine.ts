import type { Buffer } from 'node:buffer'
import { asBuffer, CordilleraError, type Key } from '@cordillera/base'
import type { EngineBatch, EngineIterator, EngineSnapshot, StateEngine } from '@cordillera/state'
import { ClassicLevel } from 'classic-level'

/**
 * The state engine over LevelDB. A key's chars (one a byte) are stored as UTF-8, which keeps their order and is the
 * fastest way through the binding; values are buffers. Every batch is written with `sync: true`.
 */
type Level = ClassicLevel<string, Buffer>

const OPTIONS = {
  keyEncoding: 'utf8',
  valueEncoding: 'buffer',
  compression: false,
  writeBufferSize: 16 << 20,
  cacheSize: 32 << 20,
} as const

export class ClassicLevelEngine implements StateEngine {
  readonly #level: Level

  private constructor(level: Level) {
    this.#level = level
  }

  /** Takes the directory's lock. Throws DIRECTORY_IN_USE when another process has it, else DIRECTORY_INVALID. */
  static async open(path: string): Promise<ClassicLevelEngine> {
    const level: Level = new ClassicLevel(path, OPTIONS)
    try {
      await level.open()
      return new ClassicLevelEngine(level)
    } catch (cause) {
      const { code } = (cause as Error).cause as { code?: string }
      if (code === 'LEVEL_LOCKED') throw new CordilleraError('DIRECTORY_IN_USE', { cause })
      throw new CordilleraError('DIRECTORY_INVALID', { detail: `the state database cannot be opened: ${path}`, cause })
    }
  }

  get(key: Key): Uint8Array | undefined {
    return this.#level.getSync(key)
  }

  snapshot(): EngineSnapshot {
    const snapshot = this.#level.snapshot()
    return {
      iterate: ({ start, end, reverse }): EngineIterator => {
        const range = end === null ? { gte: start } : { gte: start, lt: end }
        const iterator = this.#level.iterator({ ...range, reverse, snapshot })
        return { next: (count) => iterator.nextv(count), close: () => iterator.close() }
      },
      close: () => snapshot.close(),
    }
  }

  batch(): EngineBatch {
    const batch = this.#level.batch()
    return {
      put: (key, value) => {
        batch.put(key, asBuffer(value))
      },
      delete: (key) => {
        batch.del(key)
      },
      write: () => batch.write({ sync: true }),
    }
  }

  close(): Promise<void> {
    return this.#level.close()
  }
}
