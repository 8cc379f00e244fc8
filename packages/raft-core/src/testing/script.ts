import { type ReplicaId, SeededRandom } from '@cordillera/base'
import type { ChangeStep, Configuration } from '../configuration.js'
import { ENTRY_HEADER_BYTES, type Entry, EntryType, sealEntry } from '../entry.js'
import type { Message } from '../message.js'
import type { HardState, Ready } from '../ready.js'
import { payloadOf } from './invariants.js'
import { MemoryLog } from './memory-log.js'
import { VirtualCluster } from './virtual-cluster.js'
import type { Choices, Limits, VirtualReplica, VirtualSnapshot } from './virtual-replica.js'

/**
 * Runs the commands of a text script against a {@link VirtualCluster} and says what happened, a line an event.
 *
 * A command is a word, replica ids, and `name=value` pairs; testdata/README.md lists them. A command that makes no
 * sense throws. Nothing happens that no command asked for: messages wait in the network, writes wait for `sync`.
 */
export class Script {
  #cluster: VirtualCluster | undefined
  readonly #logs = new Map<ReplicaId, MemoryLog>()
  readonly #lines: string[] = []

  /** Runs one line; returns the output it is to be compared with. */
  run(line: string): string {
    const [command, ...args] = line.trim().split(/\s+/)
    const run = commands[command!]
    if (run === undefined) throw new Error(`unknown command ${command}`)
    this.#lines.length = 0
    run(this, parse(args))
    return this.#lines.map((text) => `${text}\n`).join('')
  }

  get cluster(): VirtualCluster {
    if (this.#cluster === undefined) throw new Error('a script begins with `cluster`')
    return this.#cluster
  }

  say(line: string): void {
    this.#lines.push(line)
  }

  /** A log for a replica of the cluster to come. */
  prepare(id: ReplicaId, terms: readonly number[], term: number, commitIndex: number): void {
    const entries = terms.map((each, at): Entry => {
      return sealEntry(each, at + 1, EntryType.command, Buffer.alloc(ENTRY_HEADER_BYTES + 1, String(each)))
    })
    this.#logs.set(id, MemoryLog.of(entries, { term, vote: 0, commitIndex }))
  }

  found(configuration: Configuration, empty: readonly ReplicaId[], choices: Choices): void {
    const random = new SeededRandom(1)
    this.#cluster = new VirtualCluster({ ...choices, configuration, empty, random, logs: this.#logs })
  }

  sayReady(replica: VirtualReplica, ready: Ready): void {
    const parts: string[] = []
    const { roleChange, entries, hardState, committed, snapshots, load } = ready
    if (roleChange !== undefined) {
      parts.push(`${roleChange.role} of term ${roleChange.term}, leader ${roleChange.leader || 'unknown'}`)
    }
    if (entries.length > 0) parts.push(`appends ${entriesText(entries)}`)
    if (hardState !== undefined) parts.push(hardStateText(hardState))
    if (committed.length > 0) parts.push(`applies ${entriesText(committed)}`)
    for (const { readId, index } of ready.reads) parts.push(`read ${readId} confirmed at ${index}`)
    for (const readId of ready.readsDropped) parts.push(`read ${readId} dropped`)
    for (const to of snapshots) parts.push(`sends a snapshot to ${to}`)
    if (load !== undefined) parts.push(`loads ${load.from}..${load.to}`)
    for (const part of parts) this.say(`${replica.id}: ${part}`)
    for (const message of ready.messages) this.say(`  ${messageText(message)}`)
    for (const message of ready.messagesAfterSync) this.say(`  after sync: ${messageText(message)}`)
  }
}

interface Args {
  readonly ids: readonly ReplicaId[]
  readonly words: readonly string[]
  readonly named: Readonly<Record<string, string>>
}

function parse(args: readonly string[]): Args {
  const named: Record<string, string> = {}
  const words = args.filter((arg) => {
    const at = arg.indexOf('=')
    if (at > 0) named[arg.slice(0, at)] = arg.slice(at + 1)
    return at <= 0
  })
  return { words, named, ids: words.map(Number) }
}

type Command = (script: Script, args: Args) => void

/** Runs on each replica named, or on all that are up. */
function onEach(run: (script: Script, replica: VirtualReplica, args: Args) => void): Command {
  return (script, args) => {
    const { cluster } = script
    const targets = args.words[0] === 'all' ? cluster.running : args.ids.map((id) => cluster.replica(id))
    for (const replica of targets) cluster.step(replica, () => run(script, replica, args))
  }
}

/** Runs on the first replica named, with the rest as its arguments. */
function onOne(run: (script: Script, replica: VirtualReplica, args: Args) => void): Command {
  return (script, args) => {
    const replica = script.cluster.replica(args.ids[0]!)
    script.cluster.step(replica, () => run(script, replica, args))
  }
}

/** The messages under way that match `from=`, `to=`, `kind=`, at most `count=`; oldest first. */
function matching({ cluster }: Script, { named }: Args): Message[] {
  const { from, to, kind, count } = named
  const found = cluster.network.filter(
    (message) =>
      (from === undefined || message.from === Number(from)) &&
      (to === undefined || message.to === Number(to)) &&
      (kind === undefined || message.kind === kind),
  )
  return found.slice(0, count === undefined ? found.length : Number(count))
}

const limitNames: Readonly<Record<string, keyof Limits>> = {
  election: 'electionTimeoutTicks',
  heartbeat: 'heartbeatIntervalTicks',
  'inflight-messages': 'inflightMessagesMax',
  'inflight-bytes': 'inflightBytesMax',
  'append-bytes': 'appendBytesMax',
  'committed-bytes': 'committedBytesMax',
  'uncommitted-bytes': 'uncommittedBytesMax',
}

const commands: Readonly<Record<string, Command>> = {
  log: (script, { ids, named }) => {
    const terms = (named.terms ?? '').split(',').filter(Boolean).map(Number)
    script.prepare(ids[0]!, terms, Number(named.term ?? terms.at(-1) ?? 0), Number(named.commit ?? 0))
  },
  cluster: (script, { ids, named }) => {
    const { outgoing, learners, empty, lease, drift = '0', 'check-quorum': checkQuorum, ...rest } = named
    const limits: Partial<Limits> = {}
    for (const [name, value] of Object.entries(rest)) limits[limitNames[name]!] = Number(value)
    script.found({ voters: ids, outgoing: idsOf(outgoing), learners: idsOf(learners) }, idsOf(empty), {
      limits,
      checkQuorum: checkQuorum !== 'off',
      lease: lease === undefined ? undefined : { durationMs: Number(lease), clockDriftMax: Number(drift) },
    })
  },
  status: (script) => {
    for (const replica of script.cluster.replicas) script.say(statusText(replica))
  },
  progress: onOne((script, { id, group }) => {
    for (const peer of script.cluster.replicas) {
      const view = group.progressOf(peer.id)
      if (view === undefined) continue
      script.say(`${id} of ${peer.id}: ${view.state} match=${view.matchIndex} next=${view.nextIndex}`)
    }
  }),
  refusals: (script) => {
    for (const [id, count] of script.cluster.refusals) script.say(`${id}: ${count} refused`)
  },
  network: (script) => {
    for (const message of script.cluster.network) script.say(messageText(message))
    for (const snapshot of script.cluster.snapshots) script.say(snapshotText(snapshot))
  },
  tick: onEach((_script, { group }, { named }) => {
    for (let i = 0; i < Number(named.count ?? 1); i++) group.tick()
  }),
  pass: ({ cluster }, { ids, named }) => {
    for (const { id, clock } of cluster.replicas) clock.pass(Number(named[id] ?? ids[0]))
  },
  campaign: onEach((_script, { group }) => group.campaign()),
  propose: onOne((script, replica, { words }) => {
    for (const word of words.slice(1)) {
      const result = script.cluster.propose(replica, word)
      if (result.kind === 'proposed') script.say(`${replica.id}: ${word} proposed at ${result.index}/${result.term}`)
      else script.say(`${replica.id}: ${word} refused, ${result.reason}, leader ${result.leader || 'unknown'}`)
    }
  }),
  change: onOne((script, replica, { words }) => {
    const steps = words.slice(1).map((word): ChangeStep => {
      const [kind, id] = word.split(':')
      return { kind: kind as ChangeStep['kind'], replicaId: Number(id) }
    })
    const result = script.cluster.proposeChange(replica, steps)
    if (result.kind === 'proposed') script.say(`${replica.id}: change proposed at ${result.index}/${result.term}`)
    else script.say(`${replica.id}: change refused, ${result.reason}, leader ${result.leader || 'unknown'}`)
  }),
  configuration: onEach((script, { id, group }) => script.say(`${id}: ${configurationText(group.configuration)}`)),
  snapshot: (script, { words, named }) => {
    if (words[0] === 'again') {
      const [from, to] = words[1]!.split('>').map(Number)
      const snapshot = script.cluster.replica(from!).snapshotFor(to!, Number(named.at))
      script.cluster.snapshots.push(snapshot)
      return
    }
    const position = script.cluster.snapshots.findIndex(({ from, to }) => `${from}>${to}` === words.at(-1))
    if (position < 0) throw new Error('no such snapshot')
    const { to } = script.cluster.snapshots[position]!
    if (words[0] === 'lost') script.cluster.loseSnapshot(position)
    else if (!script.cluster.deliverSnapshot(position)) script.say(`${to}: does not want it`)
  },
  install: onEach((script, replica) => {
    replica.finishRestore()
    script.say(`${replica.id}: installed a snapshot at ${replica.restoredIndex}`)
  }),
  read: onEach((script, replica) => {
    const result = script.cluster.read(replica)
    script.say(
      typeof result === 'number' ? `${replica.id}: read ${result} asked` : `${replica.id}: read refused, ${result}`,
    )
  }),
  transfer: onOne((script, { id, group }, { ids }) => {
    script.say(`${id}: transfer to ${ids[1]} ${group.transferLeadership(ids[1]!)}`)
  }),
  ready: onEach((script, replica) => {
    if (!replica.group.hasReady()) script.say(`${replica.id}: nothing ready`)
    else script.sayReady(replica, script.cluster.take(replica))
  }),
  sync: (script, { ids, words, named }) => {
    const targets = words[0] === 'all' ? script.cluster.running : ids.map((id) => script.cluster.replica(id))
    for (const replica of targets) {
      const count = Number(named.count ?? replica.unsyncedCount)
      for (let i = 0; i < count; i++) script.cluster.sync(replica)
      script.say(`${replica.id}: durable to ${replica.group.durableIndex}, commit ${replica.group.commitIndex}`)
    }
  },
  deliver: (script, args) => {
    for (const message of matching(script, args)) {
      script.say(messageText(message))
      script.cluster.deliver(script.cluster.network.indexOf(message))
    }
  },
  drop: (script, args) => {
    for (const message of matching(script, args)) {
      script.say(`lost: ${messageText(message)}`)
      script.cluster.network.splice(script.cluster.network.indexOf(message), 1)
    }
  },
  duplicate: (script, args) => {
    for (const message of matching(script, args)) script.cluster.network.push(message)
  },
  settle: (script, { ids, named }) => {
    const onReady = (replica: VirtualReplica, ready: Ready) => script.sayReady(replica, ready)
    script.cluster.settle(named.quiet === undefined ? onReady : undefined, ids.length > 0 ? ids : undefined)
  },
  cut: ({ cluster }, { words }) => {
    for (const word of words) {
      const links = word.includes('>')
        ? [word]
        : cluster.replicas.flatMap(({ id }) => [`${word}>${id}`, `${id}>${word}`])
      for (const link of links) cluster.cutLinks.add(link)
    }
  },
  heal: ({ cluster }) => cluster.cutLinks.clear(),
  crash: ({ cluster }, { ids }) => {
    for (const id of ids) cluster.crash(cluster.replica(id))
  },
  restart: ({ cluster }, { ids }) => {
    for (const id of ids) cluster.replica(id).restart()
  },
  flush: onEach((_script, replica) => {
    replica.flushedIndex = replica.applied.length
  }),
  evict: onEach((_script, replica) => {
    replica.log.evictedIndex = replica.log.lastIndex
  }),
  loaded: onEach((_script, replica) => replica.finishLoad()),
  compact: onOne((_script, replica, { words }) => replica.log.compactTo(Number(words[1]))),
  quiesce: onOne((script, { id, group }) => {
    if (group.canQuiesce()) group.quiesce()
    else script.say(`${id}: cannot rest`)
  }),
  wake: onEach((_script, { group }) => group.wake()),
  'leader-unreachable': onEach((_script, { group }) => group.onLeaderUnreachable()),
  'peer-unreachable': onOne((_script, { group }, { ids }) => group.onPeerUnreachable(ids[1]!)),
}

function idsOf(list: string | undefined): ReplicaId[] {
  return list === undefined ? [] : list.split(',').map(Number)
}

function configurationText({ voters, outgoing, learners }: Configuration): string {
  const leaving = outgoing.length > 0 ? `, leaving [${outgoing.join(' ')}]` : ''
  return `voters [${voters.join(' ')}]${leaving}${learners.length > 0 ? `, learners [${learners.join(' ')}]` : ''}`
}

function snapshotText({ from, to, applied, configuration }: VirtualSnapshot): string {
  return `${from}>${to} snapshot at ${applied.length}, ${configurationText(configuration)}`
}

function statusText(replica: VirtualReplica): string {
  if (replica.isEmpty) return `${replica.id}: empty`
  const { id, group, log, isUp } = replica
  if (!isUp) return `${id}: down`
  const terms: number[] = []
  for (let index = log.compactedIndex + 1; index <= log.lastIndex; index++) terms.push(log.termAt(index)!)
  const extras = `${group.quiescent ? ', resting' : ''}${group.hasLease ? ', lease' : ''}`
  return (
    `${id}: ${group.role} of term ${group.term}, leader ${group.leader || 'unknown'}, ` +
    `commit ${group.commitIndex}, applied ${group.appliedIndex}, terms [${terms.join(' ')}]${extras}`
  )
}

function entriesText(entries: readonly Entry[]): string {
  const each = entries.map((entry) => `${entry.index}/${entry.term}${payloadOf(entry) && `:${payloadOf(entry)}`}`)
  return `[${each.join(' ')}]`
}

function hardStateText({ term, vote, commitIndex }: HardState): string {
  return `writes term=${term} vote=${vote || 'none'} commit=${commitIndex}`
}

function messageText(message: Message): string {
  return `${message.from}>${message.to} ${message.kind} term=${message.term}${detailText(message)}`
}

function detailText(message: Message): string {
  switch (message.kind) {
    case 'vote-request':
      return `${message.pre ? ' pre' : ''} last=${message.lastIndex}/${message.lastTerm}${message.transfer ? ' transfer' : ''}`
    case 'vote-reply':
      return `${message.pre ? ' pre' : ''} ${message.granted ? 'granted' : `refused, knows ${message.commitIndex}/${message.commitTerm}`}`
    case 'append-request':
      return ` after=${message.prevIndex}/${message.prevTerm} commit=${message.commitIndex} ${entriesText(message.entries)}`
    case 'append-reply':
      if (message.accepted) return ` accepted to ${message.index}`
      return ` rejected ${message.index} hint=${message.hintIndex}/${message.hintTerm}`
    case 'heartbeat':
      return ` commit=${message.commitIndex} round=${message.readRound}${message.quiesce ? ' rest' : ''}`
    case 'heartbeat-reply':
      return ` round=${message.readRound}`
    case 'timeout-now':
    case 'snapshot-request':
      return ''
  }
}
