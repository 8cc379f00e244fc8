import { CordilleraError } from '@cordillera/base'
import type { Transport } from '@cordillera/wire'

/** The transport of a node that is alone: nothing listens, nobody is reached. */
export class AloneTransport implements Transport {
  async start(): Promise<void> {}

  identify(): void {}

  setPeers(): void {}

  send(): boolean {
    return false
  }

  disconnect(): void {}

  async ask(address: string): Promise<Uint8Array> {
    throw new CordilleraError('UNAVAILABLE', { detail: `nobody is asked at ${address}: this node is alone` })
  }

  async close(): Promise<void> {}
}
