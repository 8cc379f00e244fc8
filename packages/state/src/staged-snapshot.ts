import { CordilleraError, type ReplicaId } from '@cordillera/base'
import { SnapshotDecoder, type SnapshotHead } from './snapshot-codec.js'

/** A snapshot that arrives. */
export class StagedSnapshot {
  readonly replicaId: ReplicaId
  readonly #decoder = new SnapshotDecoder()
  readonly #put: (chunk: Uint8Array, number: number) => Promise<void>
  readonly #onAbandoned: () => void
  #count = 0
  #stored = 0
  #isAbandoned = false

  constructor(
    replicaId: ReplicaId,
    put: (chunk: Uint8Array, number: number) => Promise<void>,
    onAbandoned: () => void,
  ) {
    this.replicaId = replicaId
    this.#put = put
    this.#onAbandoned = onAbandoned
  }

  /** Known from the first chunk on. */
  get head(): SnapshotHead | undefined {
    return this.#decoder.head
  }

  /** What the range remembers of operations, encoded; empty: nothing. Once it is complete. */
  get memory(): Uint8Array {
    return this.#decoder.memory
  }

  /** All chunks are here, durable, and fit each other. */
  get isComplete(): boolean {
    return this.#decoder.isComplete && this.#stored === this.#count
  }

  /**
   * Takes the next chunk, in the order of the sender; it is durable when it resolves. Rejects with `CORRUPT` when it is not
   * that one, and with `CLOSED` when the snapshot was given up.
   */
  async add(chunk: Uint8Array): Promise<void> {
    if (this.#isAbandoned) throw new CordilleraError('CLOSED', { detail: 'the snapshot was given up' })
    this.#decoder.add(chunk)
    await this.#put(chunk, this.#count++)
    this.#stored++
  }

  /** Takes no more chunks, and removes those that are here. Too late, and ignored, once it is being installed. */
  abandon(): void {
    this.#isAbandoned = true
    this.#onAbandoned()
  }
}
