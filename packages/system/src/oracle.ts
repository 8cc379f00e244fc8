import {
  assert,
  type Clock,
  type Key,
  type Logger,
  type NodeId,
  type Term,
  type Timer,
  type Version,
} from '@cordillera/base'
import { systemKey, type VersionedValue } from '@cordillera/ranges'
import { decodeOracleRecord, encodeOracleRecord } from './oracle-record.js'
import { SafePointKeeper } from './safe-point-keeper.js'

/**
 * The source of timestamps, beside the leader of the system range.
 *
 * It gives out rising numbers, each once, up to a *bound* that is durable, in the system range, before the first number
 * below it is given out. A new leader begins above the bound that it finds, and gives out nothing before its own bound
 * has applied in its own term. So two oracles never give out the same number, and the later one's are all above the
 * earlier one's, even while the earlier one does not know yet that it was deposed. That it was not, its host makes sure
 * for every request (see `issue`): an answer is then above everything that was given out before the request was sent.
 *
 * The record's own version is the next number to be given out: above everything that any entry of the system range can
 * have, because those have numbers that were given out. It also carries the safe point, for the same nodes to share.
 */
export interface OracleLeadership {
  readonly term: Term
  /** The newest applied value; everything that was committed before the term is applied. */
  get(key: Key): VersionedValue | undefined
  /** `onEnd` runs at most once: true when the put has applied, false when it surely never will. */
  propose(version: Version, key: Key, value: Uint8Array, onEnd: (isApplied: boolean) => void): void
}

export interface TimestampsWanted {
  readonly nodeId: NodeId
  /** 0 for news alone. */
  readonly count: number
  /** No snapshot that is open on the node, or that it will ever open, is below. */
  readonly oldestSnapshot: Version
}

export interface TimestampsIssued {
  /** This and the `count - 1` behind it are the asker's; with a count of 0 all given out so far are below. */
  readonly first: Version
  readonly safePoint: Version
}

export interface OracleParts {
  readonly clock: Clock
  readonly logger: Logger
  /** The nodes of the cluster, as far as they are known: the safe point waits for their snapshots. */
  readonly knownNodes: () => Iterable<NodeId>
  /** How many numbers a bound is ahead: at an election so many may be lost. */
  readonly span?: number
}

export const ORACLE_KEY: Key = systemKey('oracle')
const SPAN = 2 ** 20
const RETRY_MS = 50
/** How often the safe point may move. */
const SAFE_POINT_MS = 1_000

export class Oracle {
  readonly #parts: OracleParts
  readonly #span: number
  #seat: Seat | undefined

  constructor(parts: OracleParts) {
    this.#parts = parts
    this.#span = parts.span ?? SPAN
  }

  /** This node's replica of the system range leads. Replaces an earlier leadership. */
  onLeading(leadership: OracleLeadership): void {
    this.onLeadingEnded()
    const stored = leadership.get(ORACLE_KEY)
    const record = stored === undefined ? { bound: 0, safePoint: 0 } : decodeOracleRecord(stored.value)
    assert(record.bound >= (stored?.version ?? 0), "the oracle's record is within its own bound")
    this.#seat = {
      leadership,
      next: record.bound + 1,
      lastIssued: record.bound,
      bound: 0,
      safePoint: record.safePoint,
      keeper: new SafePointKeeper(this.#parts.clock.now()),
      isWriting: false,
      timer: undefined,
    }
    this.#parts.logger.debug('oracle-leading', { term: leadership.term, first: record.bound + 1 })
    this.#persist(this.#seat)
    this.#scheduleTick(this.#seat)
  }

  onLeadingEnded(): void {
    this.#seat?.timer?.cancel()
    this.#seat = undefined
  }

  /**
   * Gives out timestamps. The caller has confirmed, after the request was sent, that nobody else had been elected then.
   * Undefined: no bound has applied yet in this term, or it is used up.
   */
  issue({ nodeId, count, oldestSnapshot }: TimestampsWanted): TimestampsIssued | undefined {
    const seat = this.#seat
    if (seat === undefined || seat.bound === 0) return undefined
    const first = seat.next
    if (first + count - 1 > seat.bound) {
      this.#persist(seat)
      return undefined
    }
    seat.next += count
    if (count > 0) seat.lastIssued = seat.next - 1
    seat.keeper.onReport(nodeId, oldestSnapshot, this.#parts.clock.now())
    if (seat.bound - seat.next < this.#span / 2) this.#persist(seat)
    return { first, safePoint: seat.safePoint }
  }

  close(): void {
    this.onLeadingEnded()
  }

  #persist(seat: Seat): void {
    if (seat.isWriting) return
    seat.isWriting = true
    const version = seat.next++
    const bound = version + this.#span
    const candidate = seat.keeper.candidate(this.#parts.knownNodes(), this.#parts.clock.now())
    const safePoint = Math.max(seat.safePoint, candidate)
    seat.leadership.propose(version, ORACLE_KEY, encodeOracleRecord({ bound, safePoint }), (isApplied) => {
      if (this.#seat !== seat) return
      seat.isWriting = false
      if (isApplied) {
        seat.bound = bound
        seat.safePoint = safePoint
      } else {
        this.#parts.clock.after(RETRY_MS, () => {
          if (this.#seat === seat) this.#persist(seat)
        })
      }
    })
  }

  #scheduleTick(seat: Seat): void {
    seat.timer = this.#parts.clock.after(SAFE_POINT_MS, () => {
      if (this.#seat !== seat) return
      const candidate = seat.keeper.candidate(this.#parts.knownNodes(), this.#parts.clock.now())
      // Once it is ahead of everything given out, only records of its own would follow.
      const isBehind = candidate > seat.safePoint && seat.lastIssued >= seat.safePoint
      if (seat.bound !== 0 && isBehind) this.#persist(seat)
      this.#scheduleTick(seat)
    })
  }
}

interface Seat {
  readonly leadership: OracleLeadership
  /** The next number to give out. */
  next: Version
  /** The newest number that somebody may have. */
  lastIssued: Version
  /** Applied in this term: what may be given out. 0 before the first. */
  bound: Version
  /** Applied. */
  safePoint: Version
  readonly keeper: SafePointKeeper
  isWriting: boolean
  timer: Timer | undefined
}
