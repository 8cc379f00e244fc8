import type { RangeRequest } from '@cordillera/wire'

/** Sees the requests that a replica takes, before they have any effect: for samples of its load. It must not throw. */
export interface RequestSampler {
  onRequest(request: RangeRequest): void
}
