import type { Logger } from '@cordillera/base'
import type { Disk } from '@cordillera/raft-log'

/** Measures what room is left, one measurement at a time: a disk that does not answer must not collect them. */
export interface SpaceMeterParts {
  readonly disk: Pick<Disk, 'freeBytes'>
  readonly logger: Logger
  onFreeBytes(freeBytes: number): void
}

export class SpaceMeter {
  readonly #parts: SpaceMeterParts
  #isMeasuring = false

  constructor(parts: SpaceMeterParts) {
    this.#parts = parts
  }

  measure(): void {
    if (this.#isMeasuring) return
    this.#isMeasuring = true
    const { disk, logger, onFreeBytes } = this.#parts
    disk
      .freeBytes()
      .then(onFreeBytes, (error) => logger.debug('space-unmeasured', { error: String(error) }))
      .finally(() => {
        this.#isMeasuring = false
      })
  }
}
