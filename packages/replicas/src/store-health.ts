/**
 * Whether a store's disk is fit to lead on, from how long its syncs take: a state machine with handed-in time.
 *
 * `slow` is a matter of shares, not of single syncs: a level rises by the duration of every slow sync and leaks half of the
 * time that passes, so it stays near zero unless more than about half of the time goes into slow syncs. `stalled` is one
 * sync that has been under way for long; `dead` is one that has been for so long that the store is to stop, and is final.
 *
 * It does not flap. A store that became unfit is fit again only after the level has been zero for a whole hold, during which
 * syncs were seen to complete; a store that relapses soon after it recovered is held twice as long as the time before, up to
 * a maximum.
 *
 * Only time in which it was looked at counts: a process that was stopped for a minute in the middle of a sync did not see
 * its disk stall. So {@link StoreHealth.check} is to be called every {@link STEP_MS_MAX} at the latest.
 */
export type StoreCondition = 'healthy' | 'slow' | 'stalled' | 'dead'

export interface StoreHealthLimits {
  /** A sync that takes so long is slow. Above what a good disk does under load, well below an election timeout. */
  readonly slowSyncMs: number
  /** Time in slow syncs, of about twice that time, that makes a store slow. */
  readonly slowLevelMs: number
  /** A sync under way for so long is a stall: those that are not over by then tend to last. */
  readonly stalledSyncMs: number
  /** A sync under way for so long ends the store. Only a disk that is lost, or nearly, takes it. */
  readonly deadSyncMs: number
  /** How long a store must have been well to be healthy again; it doubles with every relapse, up to the maximum. */
  readonly holdMsMin: number
  readonly holdMsMax: number
}

export const defaultStoreHealthLimits: StoreHealthLimits = {
  slowSyncMs: 250,
  slowLevelMs: 1_000,
  stalledSyncMs: 1_000,
  deadSyncMs: 30_000,
  holdMsMin: 5_000,
  holdMsMax: 300_000,
}

/** No more than this counts of the time between two looks. */
export const STEP_MS_MAX = 500
/** The part of the passing time that the level leaks. */
const LEAK = 0.5
/** The level never exceeds this many times `slowLevelMs`: what is long over is soon forgotten. */
const LEVELS_MAX = 2
/** Syncs that must have completed well before a store is believed to be healthy again. */
const GOOD_SYNCS_MIN = 3
/** A store that was healthy for so many times its last hold has not relapsed: it is held as if for the first time. */
const FORGIVEN_HOLDS = 4

export class StoreHealth {
  readonly #limits: StoreHealthLimits
  #condition: StoreCondition = 'healthy'
  #checkedAtMs: number
  /** How long the sync under way was seen to go on. */
  #underWayMs = 0
  #levelMs = 0
  /** Nothing was wrong since. */
  #goodSinceMs: number
  #goodSyncs = 0
  #holdMs: number
  /** When it last became healthy; undefined before it was ever anything else. */
  #recoveredAtMs: number | undefined

  constructor(limits: StoreHealthLimits, nowMs: number) {
    this.#limits = limits
    this.#checkedAtMs = nowMs
    this.#goodSinceMs = nowMs
    this.#holdMs = limits.holdMsMin
  }

  get condition(): StoreCondition {
    return this.#condition
  }

  /** How long the store must be well until it is healthy, as of the last time it was not. */
  get holdMs(): number {
    return this.#holdMs
  }

  /** A sync has completed. Allocates nothing. */
  onSync(durationMs: number): void {
    const { slowSyncMs } = this.#limits
    // What was seen of it, and what may have passed since the last look.
    const seenMs = Math.min(durationMs, this.#underWayMs + STEP_MS_MAX)
    this.#underWayMs = 0
    if (seenMs < slowSyncMs) this.#goodSyncs++
    else this.#raise(seenMs)
  }

  /** Looks at the time; `writingForMs`: how long the sync under way has been going on, 0 for none. */
  check(nowMs: number, writingForMs: number): StoreCondition {
    const stepMs = Math.max(0, nowMs - this.#checkedAtMs)
    this.#checkedAtMs = nowMs
    this.#underWayMs = writingForMs === 0 ? 0 : Math.min(writingForMs, this.#underWayMs + Math.min(stepMs, STEP_MS_MAX))
    this.#levelMs = Math.max(0, this.#levelMs - LEAK * stepMs)
    const { slowSyncMs, slowLevelMs } = this.#limits
    // What is under way is not in the level yet.
    const underWayMs = this.#underWayMs >= slowSyncMs ? this.#underWayMs : 0
    if (this.#levelMs > 0 || underWayMs > 0) {
      this.#goodSinceMs = nowMs
      this.#goodSyncs = 0
    }
    this.#turn(this.#next(nowMs, this.#levelMs + underWayMs >= slowLevelMs), nowMs)
    return this.#condition
  }

  #next(nowMs: number, isSlow: boolean): StoreCondition {
    const { stalledSyncMs, deadSyncMs } = this.#limits
    if (this.#condition === 'dead' || this.#underWayMs >= deadSyncMs) return 'dead'
    if (this.#underWayMs >= stalledSyncMs) return 'stalled'
    if (this.#condition === 'healthy') return isSlow ? 'slow' : 'healthy'
    const isWell = nowMs - this.#goodSinceMs >= this.#holdMs && this.#goodSyncs >= GOOD_SYNCS_MIN
    return isWell ? 'healthy' : 'slow'
  }

  #turn(next: StoreCondition, nowMs: number): void {
    if (next === this.#condition) return
    const { holdMsMin, holdMsMax } = this.#limits
    if (next === 'healthy') this.#recoveredAtMs = nowMs
    else if (this.#condition === 'healthy' && this.#recoveredAtMs !== undefined) {
      const isRelapse = nowMs - this.#recoveredAtMs < FORGIVEN_HOLDS * this.#holdMs
      this.#holdMs = isRelapse ? Math.min(2 * this.#holdMs, holdMsMax) : holdMsMin
    }
    this.#condition = next
  }

  #raise(slowMs: number): void {
    this.#levelMs = Math.min(this.#levelMs + slowMs, LEVELS_MAX * this.#limits.slowLevelMs)
    this.#goodSinceMs = this.#checkedAtMs
    this.#goodSyncs = 0
  }
}
