import { type Key, NO_BYTES, type Version } from '@cordillera/base'
import type { VersionedValue } from '@cordillera/ranges'

/** Where a page ends. At least one entry fits, whatever the limits. */
export interface PageLimits {
  /** Entries. */
  readonly limit: number
  /** Keys and the values returned, together. */
  readonly bytesMax: number
  /** False: values come back empty and do not count. */
  readonly values: boolean
}

export interface ScanEntry extends VersionedValue {
  readonly key: Key
}

/** Live entries of a scan, in order, up to its limits. */
export class Page {
  readonly entries: ScanEntry[] = []
  readonly #limits: PageLimits
  #bytes = 0
  #full = false

  constructor(limits: PageLimits) {
    this.#limits = limits
  }

  /** True once an entry did not fit: there is more behind this page. */
  get full(): boolean {
    return this.#full
  }

  /** Adds an entry, or returns false when the page has no room for it; it takes none from then on. */
  tryAdd(key: Key, version: Version, value: Uint8Array): boolean {
    const { limit, bytesMax, values } = this.#limits
    const bytes = this.#bytes + key.length + (values ? value.length : 0)
    const { entries } = this
    if (this.#full || (entries.length > 0 && (entries.length >= limit || bytes > bytesMax))) {
      this.#full = true
      return false
    }
    this.#bytes = bytes
    entries.push({ key, version, value: values ? value : NO_BYTES })
    return true
  }
}
