import { assert, type Key, type Version } from '@cordillera/base'
import type { Descriptor, Span, Write } from '@cordillera/ranges'
import { Generation, versionAt } from './generation.js'
import { Page, type PageLimits } from './page.js'
import { lowerBound } from './sorted-runs.js'

/**
 * Applied writes that the engine does not hold yet, and a cache of those that it does, by generation.
 *
 * Writes go to the *active* generation. A cut makes it the *frozen* one, which never changes again and is written to
 * the engine. Once that is durable it is *clean*: it answers point reads until newer clean generations displace it.
 * The newest generation that knows a key is right; older clean ones are therefore dropped before newer ones.
 */
export class Overlay {
  readonly #cacheBytesMax: number
  #active = new Generation()
  #frozen: Generation | undefined
  /** Newest first. */
  readonly #clean: Generation[] = []

  constructor(cacheBytesMax: number) {
    this.#cacheBytesMax = cacheBytesMax
  }

  /** Bytes that are not durable in the engine yet. */
  get unflushedBytes(): number {
    return this.#active.bytes + (this.#frozen === undefined ? 0 : this.#frozen.bytes)
  }

  /** What is known of the key; undefined: only the engine knows. */
  get(key: Key): Write | undefined {
    const newest = this.#active.values.get(key) ?? this.#frozen?.values.get(key)
    return newest ?? this.flushed(key)
  }

  /**
   * What is known of the key as a snapshot at `at`, not below the safe point, sees it: `engine` when only the engine's
   * newest version, or its history, can tell; `history` when that newest version is known, and above `at`.
   */
  getAt(key: Key, at: Version): Write | 'engine' | 'history' {
    const unflushed = versionAt(this.#active.values.get(key), at) ?? versionAt(this.#frozen?.values.get(key), at)
    if (unflushed !== undefined) return unflushed
    const flushed = this.flushed(key)
    if (flushed === undefined) return 'engine'
    return flushed.version <= at ? flushed : 'history'
  }

  /** The newest version in the engine, as far as it is cached. */
  flushed(key: Key): Write | undefined {
    for (const generation of this.#clean) {
      const value = generation.values.get(key)
      if (value !== undefined) return value
    }
    return undefined
  }

  /** See `Generation.write`. */
  write(descriptor: Descriptor, writes: readonly Write[], safePoint: Version): void {
    this.#active.write(descriptor, writes, safePoint)
  }

  /** Freezes what was written up to now and returns it. One cut at a time. */
  cut(): Generation {
    assert(this.#frozen === undefined, 'a cut follows the settling of the one before')
    this.#frozen = this.#active
    this.#active = new Generation()
    return this.#frozen
  }

  /** The frozen generation is durable in the engine. */
  settle(): void {
    const frozen = this.#frozen
    assert(frozen !== undefined, 'only what was cut settles')
    this.#frozen = undefined
    frozen.forgetOrder()
    const newest = this.#clean[0]
    const small = frozen.values.size <= ABSORBED_ENTRIES_MAX
    if (small && newest !== undefined && newest.bytes + frozen.bytes <= this.#cacheBytesMax / 2) newest.absorb(frozen)
    else this.#clean.unshift(frozen)
    this.#trim()
  }

  /** Forgets the cache. */
  dropClean(): void {
    this.#clean.length = 0
  }

  /**
   * The unflushed entries of a span as a snapshot at `at` sees them (0: the newest), in the direction's order, deletions
   * included; at least as many as a page of these limits can take up, and the one behind it. The result does not change
   * with later writes.
   */
  collect(span: Span, at: Version, reverse: boolean, limits: PageLimits): OverlaidEntry[] {
    const generations = this.#frozen === undefined ? [this.#active] : [this.#active, this.#frozen]
    const cursors = openCursors(generations, span)
    const page = new Page(limits)
    const collected: OverlaidEntry[] = []
    for (;;) {
      const key = takeNext(cursors, reverse)
      if (key === undefined) return collected
      const [active, frozen] = [this.#active.values.get(key), this.#frozen?.values.get(key)]
      const seen = at === 0 ? (active ?? frozen) : (versionAt(active, at) ?? versionAt(frozen, at))
      if (seen === undefined) continue
      const { version, value } = seen
      collected.push({ key, version, value })
      if (value !== undefined && !page.tryAdd(key, version, value)) return collected
    }
  }

  #trim(): void {
    let bytes = 0
    for (const generation of this.#clean) bytes += generation.bytes
    while (this.#clean.length > 0 && (this.#clean.length > CLEAN_GENERATIONS_MAX || bytes > this.#cacheBytesMax)) {
      bytes -= this.#clean.pop()!.bytes
    }
  }
}

export interface OverlaidEntry {
  readonly key: Key
  readonly version: Version
  /** Undefined: deleted. */
  readonly value: Uint8Array | undefined
}

/** Every clean generation costs a point read that misses a look-up more. */
const CLEAN_GENERATIONS_MAX = 4
/** So few entries are moved into the newest clean generation, at once, rather than kept as one of their own. */
const ABSORBED_ENTRIES_MAX = 2048

/** A place in an ascending run: the keys at `from` (inclusive) to `to` (exclusive) are still to come. */
interface Cursor {
  readonly run: readonly Key[]
  from: number
  to: number
}

function openCursors(generations: readonly Generation[], span: Span): Cursor[] {
  const cursors: Cursor[] = []
  for (const generation of generations) {
    for (const run of generation.runsOver(span)) {
      const from = lowerBound(run, span.start)
      const to = span.end === null ? run.length : lowerBound(run, span.end)
      if (from < to) cursors.push({ run, from, to })
    }
  }
  return cursors
}

/** The next key in order over all cursors, passed by every one that has it. */
function takeNext(cursors: readonly Cursor[], reverse: boolean): Key | undefined {
  let next: Key | undefined
  for (const cursor of cursors) {
    const key = peek(cursor, reverse)
    if (key !== undefined && (next === undefined || (reverse ? key > next : key < next))) next = key
  }
  if (next === undefined) return undefined
  for (const cursor of cursors) {
    if (peek(cursor, reverse) !== next) continue
    if (reverse) cursor.to--
    else cursor.from++
  }
  return next
}

function peek(cursor: Cursor, reverse: boolean): Key | undefined {
  if (cursor.from >= cursor.to) return undefined
  return cursor.run[reverse ? cursor.to - 1 : cursor.from]
}
