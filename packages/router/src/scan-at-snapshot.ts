import type { CordilleraError } from '@cordillera/base'
import { MergedScan, type MergedScanPlan } from './merged-scan.js'
import { type ScanParts, type ScanPlan, type ScanResult, ScanWalk } from './scan-walk.js'
import type { SnapshotSource } from './snapshot-source.js'

/** Scans once the snapshot is open. When it ends the snapshot is closed, and may be opened again if there is more. */
export function scanAtSnapshot(
  snapshots: SnapshotSource,
  plan: ScanPlan | MergedScanPlan,
  parts: Pick<ScanParts, 'deadlineMs' | 'askPage'>,
): Promise<ScanResult> {
  return new Promise((resolve, reject) => {
    snapshots.open(plan.at, parts.deadlineMs, (error, at) => {
      if (error !== undefined) {
        reject(error)
        return
      }
      const onEnd = (outcome: ScanResult | CordilleraError): void => {
        snapshots.close(at, !(outcome instanceof Error) && outcome.more)
        if (outcome instanceof Error) reject(outcome)
        else resolve(outcome)
      }
      if ('prefixes' in plan) new MergedScan({ ...parts, plan, at, onEnd }).begin()
      else new ScanWalk({ ...parts, plan, at, onEnd }).begin()
    })
  })
}
