import { CordilleraError, type RangeId } from '@cordillera/base'
import type { ClusterSettings, OperatorInfo, OperatorRequest, RangeExplanation, RangeHashes } from './admin.js'

/**
 * A node without a placement driver: everything that operators and settings are needed for is refused with UNAVAILABLE,
 * and nothing is begun. What implements these methods takes the place of this class.
 */
export abstract class UnplacedNode {
  startOperator(_request: OperatorRequest): Promise<OperatorInfo> {
    return refused()
  }

  operators(): Promise<readonly OperatorInfo[]> {
    return refused()
  }

  awaitOperator(_operatorId: number, _timeoutMs: number): Promise<OperatorInfo> {
    return refused()
  }

  cancelOperator(_operatorId: number): Promise<OperatorInfo> {
    return refused()
  }

  explain(_rangeId: RangeId): Promise<RangeExplanation> {
    return refused()
  }

  settings(): Promise<ClusterSettings> {
    return refused()
  }

  setSettings(_patch: Partial<ClusterSettings>): Promise<ClusterSettings> {
    return refused()
  }

  hashes(_rangeId: RangeId | undefined): Promise<readonly RangeHashes[]> {
    return refused()
  }

  recoverRange(_rangeId: RangeId, _acceptDataLoss: boolean): Promise<OperatorInfo> {
    return refused()
  }
}

function refused(): Promise<never> {
  const detail = 'this version of the node has no placement driver; nothing was begun'
  return Promise.reject(new CordilleraError('UNAVAILABLE', { detail }))
}
