import { CordilleraError, type Version } from '@cordillera/base'
import { type RangeRecovery, systemKey } from '@cordillera/ranges'
import { parsed, type SystemTable } from './system-table.js'

/** Where all recoveries of ranges that people have decided on are kept, in one record: each is written over what its writer has seen. */
export const RECOVERIES_KEY = systemKey('recoveries')

export interface KnownRecoveries {
  readonly recoveries: readonly RangeRecovery[]
  /** Of the record; 0: there is none. */
  readonly recordVersion: Version
}

export class RecoveriesTable {
  readonly #table: Pick<SystemTable, 'get' | 'put'>

  constructor(table: Pick<SystemTable, 'get' | 'put'>) {
    this.#table = table
  }

  /** Rejects as the router does, and with `CORRUPT`. */
  async read(): Promise<KnownRecoveries> {
    const row = await this.#table.get(RECOVERIES_KEY)
    return { recoveries: row === undefined ? [] : readRecoveries(row.value), recordVersion: row?.version ?? 0 }
  }

  /** All there are then: each is kept for ever, see `givenUpBy`. Rejects with `VERSION_MISMATCH` when somebody else has decided meanwhile. */
  async add(known: KnownRecoveries, recovery: RangeRecovery): Promise<readonly RangeRecovery[]> {
    const recoveries = [...known.recoveries, recovery]
    await this.#table.put(RECOVERIES_KEY, recoveries, known.recordVersion)
    return recoveries
  }
}

/** As stored, or as another node has told. Throws `CORRUPT`. */
export function readRecoveries(value: unknown): readonly RangeRecovery[] {
  if (!Array.isArray(value) || !value.every(isRecovery)) {
    throw new CordilleraError('CORRUPT', { detail: 'recoveries of ranges that are none' })
  }
  return value
}

/** As the record holds them. Throws `CORRUPT`. */
export function decodeRecoveries(bytes: Uint8Array): readonly RangeRecovery[] {
  return readRecoveries(parsed(bytes))
}

function isRecovery(value: unknown): value is RangeRecovery {
  if (typeof value !== 'object' || value === null) return false
  const { rangeId, start, end, from, version, survivor, nodeId, successor } = value as Record<string, unknown>
  const isSpan = typeof start === 'string' && (end === null || (typeof end === 'string' && end > start))
  const counts = [rangeId, from, version, survivor, nodeId, successor]
  return isSpan && counts.every((count) => Number.isSafeInteger(count) && (count as number) >= 1)
}
