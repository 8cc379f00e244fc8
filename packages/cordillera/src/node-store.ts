import { CordilleraError, type Key, type Version } from '@cordillera/base'
import type { Mutation } from '@cordillera/ranges'
import type {
  DatabaseStore,
  OpenSnapshot,
  PagePlan,
  ReadDone,
  StoredPage,
  WriteDone,
  WriteOperation,
} from './database/database-store.js'
import type { EmbeddedNode } from './embedded-node.js'

/** No operation takes longer, except that it may first wait for its turn: then it is UNAVAILABLE or OUTCOME_UNKNOWN. */
const TIMEOUT_MS = 30_000

/** What a database stands on, by a node in this process. Everything passes the node's window. */
export class NodeStore implements DatabaseStore {
  readonly #embedded: EmbeddedNode
  readonly #release: () => Promise<void>
  /** Operations that were begun here and are not answered. */
  #open = 0
  #onIdle: (() => void) | undefined

  /** `release` gives the node back. */
  constructor(embedded: EmbeddedNode, release: () => Promise<void>) {
    this.#embedded = embedded
    this.#release = release
  }

  get(key: Key, at: Version, done: ReadDone): void {
    if (at > 0) {
      this.#getAt(key, at, done)
      return
    }
    this.#begin(key.length, (end) => {
      this.#embedded.node.router.get(key, this.#deadlineMs(), (error, found) => {
        done(this.#worded(error), found)
        end()
      })
    })
  }

  put(key: Key, value: Uint8Array, done: WriteDone): void {
    this.#begin(key.length + value.length, (end) => {
      this.#embedded.node.router.put(key, value, this.#deadlineMs(), (error) => {
        done(this.#worded(error))
        end()
      })
    })
  }

  delete(key: Key, done: WriteDone): void {
    this.#begin(key.length, (end) => {
      this.#embedded.node.router.delete(key, this.#deadlineMs(), (error) => {
        done(this.#worded(error))
        end()
      })
    })
  }

  write(operations: readonly WriteOperation[]): Promise<Version> {
    let bytes = 0
    const mutations = operations.map(({ key, value }): Mutation => {
      bytes += key.length + (value?.length ?? 0)
      return value === undefined ? { kind: 'delete', key } : { kind: 'put', key, value }
    })
    return this.#run(bytes, () => this.#embedded.node.router.transactions.write(mutations, this.#deadlineMs()))
  }

  scan(plan: PagePlan): Promise<StoredPage> {
    return this.#run(0, () => this.#embedded.node.router.scan(plan, this.#deadlineMs()))
  }

  openSnapshot(): Promise<OpenSnapshot> {
    const { snapshots } = this.#embedded.node
    return this.#run(
      0,
      () =>
        new Promise((resolve, reject) => {
          snapshots.open(0, this.#deadlineMs(), (error, version) => {
            if (error !== undefined) reject(error)
            else resolve({ version, close: () => snapshots.close(version, false) })
          })
        }),
    )
  }

  async close(): Promise<void> {
    // What ends may begin something that waited for it.
    while (this.#open > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve
      })
    }
    await this.#release()
  }

  #getAt(key: Key, at: Version, done: ReadDone): void {
    const plan = { start: key, end: `${key}\x00`, reverse: false, limit: 1, bytesMax: 1, values: true, at }
    this.scan(plan).then(
      ({ entries }) => done(undefined, entries[0]),
      (error) => done(error, undefined),
    )
  }

  #run<Result>(bytes: number, action: () => Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#begin(bytes, (end) => {
        action()
          .then(resolve, (error) => reject(this.#worded(error)))
          .finally(end)
      })
    })
  }

  #begin(bytes: number, start: (end: () => void) => void): void {
    const { window } = this.#embedded
    this.#open++
    window.enter(bytes, () =>
      start(() => {
        this.#open--
        window.leave(bytes)
        if (this.#open === 0) this.#onIdle?.()
      }),
    )
  }

  #deadlineMs(): number {
    return this.#embedded.clock.now() + TIMEOUT_MS
  }

  /** A node that has stopped says why. */
  #worded<Failure extends CordilleraError | undefined>(error: Failure): Failure | CordilleraError {
    const { failure } = this.#embedded
    if (error === undefined || failure === undefined || error.code !== 'CLOSED') return error
    return new CordilleraError('CLOSED', { detail: `the store has stopped: ${failure.message}`, cause: failure })
  }
}
