import { type Clock, CordilleraError, type Logger } from '@cordillera/base'
import type { IdAllocator } from './id-allocator.js'
import { type OperatorActions, Operators } from './operators.js'
import type { SystemTable } from './system-table.js'

/**
 * What places ranges, beside the leader of the system range: the operators, while this node leads it. A new leader goes on with
 * those that it finds; nothing of what an earlier one knew is needed for it.
 */
export interface PlacementDriverParts {
  readonly table: SystemTable
  readonly ids: Pick<IdAllocator, 'allocate'>
  readonly actions: OperatorActions
  readonly clock: Clock
  readonly logger: Logger
}

interface Seat {
  readonly operators: Operators
  isLoaded: boolean
}

const RETRY_MS = 500

export class PlacementDriver {
  readonly #parts: PlacementDriverParts
  #seat: Seat | undefined

  constructor(parts: PlacementDriverParts) {
    this.#parts = parts
  }

  /** This node's replica of the system range leads. Replaces an earlier leadership. */
  onLeading(): void {
    this.onLeadingEnded()
    const seat: Seat = { operators: new Operators(this.#parts), isLoaded: false }
    this.#seat = seat
    this.#load(seat)
  }

  onLeadingEnded(): void {
    this.#seat?.operators.close()
    this.#seat = undefined
  }

  /** Throws `UNAVAILABLE` where the system range is not led, or the operators have not been read yet. */
  get operators(): Operators {
    if (this.#seat?.isLoaded !== true) {
      throw new CordilleraError('UNAVAILABLE', {
        detail: 'the placement driver is not on this node, or has just begun',
      })
    }
    return this.#seat.operators
  }

  #load(seat: Seat): void {
    if (this.#seat !== seat) return
    const { clock, logger } = this.#parts
    seat.operators.load().then(
      () => {
        seat.isLoaded = true
        logger.info('placement-driver-began', { operators: seat.operators.list().length })
      },
      (error) => {
        logger.debug('operators-unread', { error: String(error) })
        clock.after(RETRY_MS, () => this.#load(seat))
      },
    )
  }
}
