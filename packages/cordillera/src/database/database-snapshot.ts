import type { Version } from '@cordillera/base'
import { AbstractSnapshot } from 'abstract-level'
import type { OpenSnapshot } from './database-store.js'

/** The constructor, which the published types leave out. */
const Snapshot = AbstractSnapshot as unknown as new (options: object) => AbstractSnapshot

/**
 * A snapshot of a database, as `db.snapshot()` gives it. It is being opened when it is made; whoever reads from it waits for
 * its version. It sees every write that was acknowledged before the call and, of its database's own, none that was called
 * later. Until it is closed the versions that it sees are kept.
 */
export class DatabaseSnapshot extends Snapshot {
  readonly #opening: Promise<OpenSnapshot>

  constructor(options: object, opening: Promise<OpenSnapshot>) {
    super(options)
    this.#opening = opening
    // Readers hear of a failure; a snapshot that nobody reads has none.
    opening.catch(() => {})
  }

  /** Rejects as `DatabaseStore.openSnapshot` does. */
  async version(): Promise<Version> {
    return (await this.#opening).version
  }

  async _close(): Promise<void> {
    const opened = await this.#opening.catch(() => undefined)
    opened?.close()
  }
}
