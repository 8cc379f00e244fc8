import { type Clock, CordilleraError, type Logger, ManualClock, SeededRandom, silentLogger } from '@cordillera/base'
import { type CrashKeeps, type Disk, type DiskOperation, MemoryDisk } from '@cordillera/raft-log'
import type { StateEngine } from '@cordillera/state'
import type { Transport } from '@cordillera/wire'
import type { FoundingConfig, NodeConfig } from '../config.js'
import { type FoundedIdentity, Founding } from '../founding.js'
import { decodeIdentity, type Identity } from '../identity.js'

/**
 * Machines with a disk each, on which processes do nothing but found a cluster; a network that carries guests' questions.
 *
 * A process dies at any moment: from then on nothing that it began comes to an end, as far as it or others can see.
 * Everything follows from the seed.
 */
export class FoundingWorld {
  readonly clock = new ManualClock()
  readonly random: SeededRandom
  readonly machines: FoundingMachine[]
  /** One question in so many is lost, and one answer in so many; 0 is none. */
  lossOneIn = 0
  localityOf = (address: string): string => `rack=${address}`

  constructor(options: { readonly seed: number; readonly machines: number }) {
    this.random = new SeededRandom(options.seed)
    this.machines = Array.from({ length: options.machines }, (_, i) => new FoundingMachine(this, `node-${i + 1}:7100`))
  }

  /** Lets events happen, and looks at the condition before each; fails after so many. */
  async until(condition: () => boolean, what: string, eventsMax = 20_000): Promise<void> {
    for (let event = 0; event < eventsMax; event++) {
      if (condition()) return
      if ((await this.clock.next()) || condition()) continue
      throw new Error(`nothing is left to happen before ${what}`)
    }
    throw new Error(`no end of events before ${what}`)
  }

  /** Lets pending promise jobs and one event happen. */
  next(): Promise<boolean> {
    return this.clock.next()
  }

  identities(): (Identity | undefined)[] {
    return this.machines.map((machine) => machine.identity())
  }

  carry(from: FoundingProcess, address: string, body: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const isLost = (): boolean => this.lossOneIn > 0 && this.random.below(this.lossOneIn) === 0
      const whenAlive = (process: FoundingProcess, action: () => void): void => {
        this.clock.after(1 + this.random.below(20), () => {
          if (process.isAlive) action()
        })
      }
      const fail = (): void => reject(new CordilleraError('UNAVAILABLE', { detail: `no answer from ${address}` }))
      this.clock.after(timeoutMs, () => from.isAlive && fail())
      const asked = this.machines.find((machine) => machine.address === address)?.process
      if (asked === undefined || isLost()) return whenAlive(from, fail)
      const answer = (settle: () => void): void => {
        if (asked.isAlive && !isLost()) whenAlive(from, settle)
      }
      whenAlive(asked, () => {
        asked.founding.onGuest(Uint8Array.from(body)).then(
          (bytes) => answer(() => resolve(Uint8Array.from(bytes))),
          (error) => answer(() => reject(error)),
        )
      })
    })
  }
}

/** A directory and the address of whoever runs on it. */
export class FoundingMachine {
  readonly address: string
  readonly disk: MemoryDisk
  readonly #world: FoundingWorld
  process: FoundingProcess | undefined

  constructor(world: FoundingWorld, address: string) {
    this.#world = world
    this.address = address
    this.disk = new MemoryDisk({ clock: world.clock })
  }

  /** Operations asked of the disk so far. */
  get operations(): number {
    return Object.values(this.disk.counts).reduce((sum, count) => sum + count, 0)
  }

  start(founding: FoundingConfig): FoundingProcess {
    if (this.process !== undefined) throw new Error('a process runs here already')
    this.process = new FoundingProcess(this.#world, this, founding)
    return this.process
  }

  /** Kills the process, if there is one, and the machine with it unless everything is kept. */
  crash(keep: CrashKeeps): void {
    if (this.process !== undefined) this.process.isAlive = false
    this.process = undefined
    this.disk.crash({ keep })
  }

  /** What a read would find now, durable or not. Throws what is not an identity. */
  identity(): Identity | undefined {
    return this.disk.names().includes('identity') ? decodeIdentity(this.disk.contents('identity')) : undefined
  }
}

export class FoundingProcess {
  readonly founding: Founding
  readonly events: string[] = []
  isAlive = true
  founded: FoundedIdentity | undefined
  error: unknown

  constructor(world: FoundingWorld, machine: FoundingMachine, founding: FoundingConfig) {
    const note = (event: string): number => this.events.push(event)
    const logger: Logger = { ...silentLogger, info: note, warn: note, error: note }
    const transport = {
      ask: (address: string, body: Uint8Array, timeoutMs: number) => world.carry(this, address, body, timeoutMs),
    } as Transport
    this.founding = new Founding(configOf(machine.address, founding, world.localityOf(machine.address)), {
      clock: this.#mortal(world.clock),
      random: new SeededRandom(world.random.u32()),
      identityDisk: machine.disk,
      logDisk: UNUSED,
      openEngine: () => Promise.reject<StateEngine>(new Error('founding opens no database')),
      transport,
      logger,
    })
    this.founding.found().then(
      (founded) => {
        this.founded = founded
      },
      (error) => {
        this.error = error
      },
    )
  }

  #mortal(clock: Clock): Clock {
    return {
      now: () => clock.now(),
      wallMs: () => clock.wallMs(),
      after: (delayMs, callback) => clock.after(delayMs, () => this.isAlive && callback()),
      defer: (callback) => clock.defer(() => this.isAlive && callback()),
    }
  }
}

/** Founding reads nothing else of the configuration. */
function configOf(peerAddress: string, founding: FoundingConfig, locality: string): NodeConfig {
  return { peerAddress, httpAddress: `http.${peerAddress}`, founding, locality } as NodeConfig
}

const UNUSED = new Proxy({} as Disk, {
  get: (_target, operation: DiskOperation) => () => Promise.reject(new Error(`founding uses no log: ${operation}`)),
})
