import type { Key, Version } from '@cordillera/base'

/**
 * What an applied command did to a key. Its value lies in the entry that brought it: the entry's bytes must not change as
 * long as the write is in use. One object a command, from here to the state database.
 */
export class Write {
  /** For whoever keeps versions: the one that this write took the place of. */
  older: Write | undefined = undefined
  /** The value is `source` from `start` to `end`; `end` -1 deletes. */
  constructor(
    readonly key: Key,
    readonly version: Version,
    private readonly source: Uint8Array,
    private readonly start: number,
    private readonly end: number,
  ) {}

  /** A write with a value of its own; undefined deletes. */
  static of(key: Key, version: Version, value: Uint8Array | undefined): Write {
    return value === undefined
      ? new Write(key, version, NOTHING, 0, DELETED)
      : new Write(key, version, value, 0, value.length)
  }

  get isDeletion(): boolean {
    return this.end === DELETED
  }

  /** 0 for a deletion. */
  get valueLength(): number {
    return this.end === DELETED ? 0 : this.end - this.start
  }

  /** A new view of the entry; undefined: the key was deleted. */
  get value(): Uint8Array | undefined {
    return this.end === DELETED ? undefined : this.source.subarray(this.start, this.end)
  }
}

export const DELETED = -1
const NOTHING = new Uint8Array(0)
