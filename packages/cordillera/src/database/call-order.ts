import type { Key } from '@cordillera/base'

/**
 * Keeps the promise that what a read sees is fixed when it is called: a write that is called later waits for it.
 *
 * Below, operations that are under way at one time have no order: a `put` can be applied before a `get` that was called
 * earlier, when the `get` is sent again or waits for its turn, and a timestamp that a snapshot waits for can come back
 * after that of a later write. So a read holds its key until it is answered, a snapshot its span until its version is
 * known, a `clear` its span until it is through, and a write starts once nothing holds its keys that was called before it.
 * Nothing else waits: not reads for writes (what was not acknowledged may be seen or not), and not writes for each other.
 *
 * A write waits for what was called before it alone: reads that keep coming hold up no write for ever.
 */
export class CallOrder {
  readonly #reads = new Map<Key, KeyHold>()
  readonly #spans = new Set<SpanHold>()

  /** Holds the key until {@link endRead}. */
  beginRead(key: Key): KeyHold {
    let hold = this.#reads.get(key)
    if (hold === undefined || hold.followers !== undefined) {
      const former = hold
      hold = { key, open: 1, followers: undefined }
      this.#reads.set(key, hold)
      if (former === undefined) return hold
      // A later write waits for both.
      const joined = hold
      joined.open++
      former.followers!.push(() => this.endRead(joined))
      return hold
    }
    hold.open++
    return hold
  }

  endRead(hold: KeyHold): void {
    if (--hold.open > 0) return
    if (this.#reads.get(hold.key) === hold) this.#reads.delete(hold.key)
    if (hold.followers !== undefined) for (const follower of hold.followers) follower()
  }

  /** Holds every key in `[start, end)` until {@link endSpan}. */
  beginSpan(start: Key, end: Key): SpanHold {
    const hold: SpanHold = { start, end, followers: [] }
    this.#spans.add(hold)
    return hold
  }

  endSpan(hold: SpanHold): void {
    if (!this.#spans.delete(hold)) return
    for (const follower of hold.followers) follower()
  }

  /** Whether a write of the key may start at once. */
  isFree(key: Key): boolean {
    if (this.#reads.has(key)) return false
    for (const { start, end } of this.#spans) if (key >= start && key < end) return false
    return true
  }

  /** Starts a write of these keys when nothing holds them that does now; within the call when nothing does. */
  whenFree(keys: Iterable<Key>, start: () => void): void {
    const wait = newWait(start)
    const spans = new Set<SpanHold>()
    for (const key of keys) {
      const hold = this.#reads.get(key)
      if (hold !== undefined) wait.for(followersOf(hold))
      for (const span of this.#spans) if (key >= span.start && key < span.end) spans.add(span)
    }
    for (const { followers } of spans) wait.for(followers)
    wait.begin()
  }

  /** As {@link whenFree}, of a write of every key in `[start, end)`. */
  whenSpanFree(start: Key, end: Key, run: () => void): void {
    const wait = newWait(run)
    for (const hold of this.#reads.values()) {
      if (hold.key >= start && hold.key < end) wait.for(followersOf(hold))
    }
    for (const span of this.#spans) if (span.start < end && start < span.end) wait.for(span.followers)
    wait.begin()
  }
}

/** Reads of one key. Once a write waits for them (`followers`), later ones begin a hold of their own. */
export interface KeyHold {
  readonly key: Key
  open: number
  followers: (() => void)[] | undefined
}

export interface SpanHold {
  readonly start: Key
  readonly end: Key
  readonly followers: (() => void)[]
}

function followersOf(hold: KeyHold): (() => void)[] {
  hold.followers ??= []
  return hold.followers
}

interface Wait {
  for(followers: (() => void)[]): void
  begin(): void
}

/** Callbacks, and no promises: writes that wait for the same start in the order of their calls. */
function newWait(start: () => void): Wait {
  let open = 1
  const begin = (): void => {
    if (--open === 0) start()
  }
  return {
    for: (followers) => {
      open++
      followers.push(begin)
    },
    begin,
  }
}
