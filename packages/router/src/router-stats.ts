import type { AnyBatch } from './pending-batch.js'

/** Counters of a router; all but the first two only grow. */
export interface RouterStats {
  /** Accepted and not yet answered, and their bytes of keys and values. */
  operationsWaiting: number
  operationBytesWaiting: number
  /** Operations accepted. */
  writes: number
  reads: number
  scans: number
  /** Requests sent; a request carries the operations of one kind for one range. */
  writeRequests: number
  readRequests: number
  scanRequests: number
  timestampRequests: number
  outcomeRequests: number
  /** Requests sent to this node itself, of all. */
  localRequests: number
  /** Requests refused or lost whose operations were sent again, and of these, hints followed at once. */
  retries: number
  redirects: number
  /** Operations answered with an error, by code. */
  overloaded: number
  diskFull: number
  unavailable: number
  outcomeUnknown: number
}

export function newRouterStats(): RouterStats {
  return {
    operationsWaiting: 0,
    operationBytesWaiting: 0,
    writes: 0,
    reads: 0,
    scans: 0,
    writeRequests: 0,
    readRequests: 0,
    scanRequests: 0,
    timestampRequests: 0,
    outcomeRequests: 0,
    localRequests: 0,
    retries: 0,
    redirects: 0,
    overloaded: 0,
    diskFull: 0,
    unavailable: 0,
    outcomeUnknown: 0,
  }
}

/** A request of this kind has left; `isLocal`: for this node itself. */
export function countSent(stats: RouterStats, kind: AnyBatch['kind'], isLocal: boolean): void {
  if (kind === 'write') stats.writeRequests++
  else if (kind === 'timestamps') stats.timestampRequests++
  else if (kind === 'read') stats.readRequests++
  else if (kind === 'scan') stats.scanRequests++
  else stats.outcomeRequests++
  if (isLocal) stats.localRequests++
}
