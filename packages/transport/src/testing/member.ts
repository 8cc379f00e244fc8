import { type Incarnation, type LogFields, type Logger, type NodeId, SeededRandom } from '@cordillera/base'
import type { TransportHandlers } from '@cordillera/wire'
import { formatAddress } from '../address.js'
import type { WebSocketTransportOptions } from '../options.js'
import { WebSocketTransport } from '../web-socket-transport.js'
import { RealClock } from './real-clock.js'

export interface LogLine {
  readonly level: string
  readonly event: string
  readonly fields: LogFields
}

/** A transport of a test, with everything that it said. */
export class Member {
  readonly transport: WebSocketTransport
  readonly nodeId: NodeId
  readonly events: string[] = []
  readonly frames: Buffer[] = []
  readonly lines: LogLine[] = []
  onGuest: (body: Uint8Array) => Promise<Uint8Array> = async (body) => body
  /** Peers that are up, by the events alone; an `onUp` without its `onDown`, or the reverse, throws. */
  readonly up = new Set<NodeId>()
  readonly violations: string[] = []

  private constructor(nodeId: NodeId, options: Partial<WebSocketTransportOptions>) {
    this.nodeId = nodeId
    this.transport = new WebSocketTransport({
      listen: { host: '127.0.0.1', port: 0 },
      clock: new RealClock(),
      random: new SeededRandom(nodeId),
      logger: this.#logger(),
      ...options,
    })
  }

  static async start(nodeId: NodeId, options: Partial<WebSocketTransportOptions> = {}): Promise<Member> {
    const member = new Member(nodeId, options)
    await member.transport.start(member.#handlers())
    return member
  }

  identify(incarnation: Incarnation = 1, clusterId = 'cluster-a'): this {
    this.transport.identify({ clusterId, nodeId: this.nodeId, incarnation })
    return this
  }

  get address(): string {
    return formatAddress(this.transport.address!)
  }

  /** Knows where the others are, under their own ids. */
  knows(...others: readonly Member[]): void {
    this.transport.setPeers(new Map(others.map((other) => [other.nodeId, other.address])))
  }

  warned(event: string): readonly LogFields[] {
    return this.lines.filter((line) => line.event === event && line.level === 'warn').map(({ fields }) => fields)
  }

  #handlers(): TransportHandlers {
    return {
      onUp: (peer, incarnation) => {
        if (this.up.has(peer)) this.violations.push(`node ${peer} is up twice`)
        this.up.add(peer)
        this.events.push(`up ${peer}/${incarnation}`)
      },
      onDown: (peer) => {
        if (!this.up.delete(peer)) this.violations.push(`node ${peer} is down twice`)
        this.events.push(`down ${peer}`)
      },
      onRefused: (peer) => this.events.push(`refused ${peer}`),
      onFrame: (from, frame) => {
        if (!this.up.has(from)) this.violations.push(`a frame of node ${from}, which is not up`)
        this.frames.push(frame as Buffer)
      },
      onGuest: (body) => this.onGuest(body),
    }
  }

  #logger(): Logger {
    const at =
      (level: string) =>
      (event: string, fields: LogFields = {}): void => {
        this.lines.push({ level, event, fields })
      }
    return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
  }
}

/** A frame: four bytes of room, then the text. */
export function frameOf(text: string): Buffer {
  return Buffer.concat([Buffer.alloc(4), Buffer.from(text)])
}

export function textOf(frame: Uint8Array): string {
  return Buffer.from(frame.subarray(4)).toString()
}
