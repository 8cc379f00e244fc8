import type { Key, Version } from '@cordillera/base'
import type { VersionedValue } from '@cordillera/ranges'
import { findHistory, HistoryCollector, hasHistory } from './history.js'
import type { EngineBatch, StateEngine } from './state-engine.js'

/**
 * Whether an engine holds older versions at all, which makes reads in the past cheap when it does not, and their collection, a
 * part with every flush, while the safe point moves.
 */
export class HeldHistory {
  readonly #engine: StateEngine
  readonly #collector = new HistoryCollector()
  /** Where the safe point was when a round of collection last ended: nothing is collected while it stands there. */
  #collectedAt: Version = 0
  #isHeld: boolean

  static async open(engine: StateEngine): Promise<HeldHistory> {
    const snapshot = engine.snapshot()
    try {
      return new HeldHistory(engine, await hasHistory(snapshot))
    } finally {
      await snapshot.close()
    }
  }

  private constructor(engine: StateEngine, isHeld: boolean) {
    this.#engine = engine
    this.#isHeld = isHeld
  }

  /** False: the engine surely holds none. */
  get isHeld(): boolean {
    return this.#isHeld
  }

  /** Some is about to be visible: from then on readers in the past must look for it. */
  onPut(): void {
    this.#isHeld = true
    this.#collector.onPut()
  }

  /** What a snapshot at `at` sees of the key, as of the moment of the call. */
  async find(key: Key, at: Version): Promise<VersionedValue | undefined> {
    const snapshot = this.#engine.snapshot()
    try {
      return await findHistory(snapshot, key, at)
    } finally {
      await snapshot.close()
    }
  }

  /** Of a writer: puts deletions of what no snapshot at or above the safe point sees into the batch. */
  async collect(batch: EngineBatch, safePoint: Version): Promise<void> {
    if (!this.#isHeld || safePoint === this.#collectedAt) return
    const snapshot = this.#engine.snapshot()
    try {
      const round = await this.#collector.collect(snapshot, batch, safePoint)
      if (round === 'nothing-left') this.#isHeld = false
      if (round !== 'to-be-continued') this.#collectedAt = safePoint
    } finally {
      await snapshot.close()
    }
  }
}
