import type { Logger } from '@cordillera/base'
import type { Disk } from '@cordillera/raft-log'
import { type NodeAt, readMembers } from './join-messages.js'
import { readSmallFile, replaceSmallFile } from './small-file.js'

/**
 * Where the other nodes listened when they were heard of last, kept in the data directory: nodes whose founders are all gone, and
 * whom no flag tells where anybody is, meet again by it. It is a hint: what cannot be read is nothing, and what cannot be written
 * is written the next time.
 */
const FILE = 'peers'

export class PeerBook {
  readonly #disk: Disk
  readonly #logger: Logger
  #kept = ''
  #isWriting = false

  constructor(disk: Disk, logger: Logger) {
    this.#disk = disk
    this.#logger = logger
  }

  /** Never rejects. */
  async read(): Promise<NodeAt[]> {
    try {
      const bytes = await readSmallFile(this.#disk, FILE)
      if (bytes === undefined) return []
      const text = new TextDecoder().decode(bytes)
      const peers = readMembers(JSON.parse(text))
      this.#kept = text
      return peers
    } catch (error) {
      this.#logger.warn('peers-unread', { error: String(error) })
      return []
    }
  }

  /** Writes them in the background, unless they are what was written last. */
  keep(peers: readonly NodeAt[]): void {
    const text = JSON.stringify([...peers].sort((a, b) => a.nodeId - b.nodeId))
    if (this.#isWriting || text === this.#kept) return
    this.#isWriting = true
    replaceSmallFile(this.#disk, FILE, new TextEncoder().encode(text)).then(
      () => {
        this.#isWriting = false
        this.#kept = text
      },
      (error) => {
        this.#isWriting = false
        this.#logger.debug('peers-unwritten', { error: String(error) })
      },
    )
  }
}
