import { CordilleraError } from '@cordillera/base'

/**
 * Lease reads (thesis 6.4.1): a leader answers a read without a round of messages while nobody else can have been elected.
 * Only when the host hands in {@link LeaseOptions}.
 *
 * A round of heartbeats is dated when it leaves. Once a quorum, of both halves of a joint configuration, has answered it, the
 * lease is valid until `durationMs * (1 - clockDriftMax)` after that date. Whoever hears a leader helps nobody to an election,
 * itself included, for `durationMs` from then on. Why no leader of a later term has been elected while L's lease of term T is
 * valid: take the first one that has been, and call it N.
 *
 * 1. The configurations of L and N are the same or neighbours, so their quorums meet in a voter V, which confirmed L's round and
 *    voted for N. N's is not two ahead: the change to it was committed in T, but L proposes it only once it has applied the one
 *    between; or before T, but then L applied the one between before it campaigned (1 and 2 in `changes.ts`). It is not two
 *    behind either (3 there). And L's is still the one that confirmed, because a change voids the lease.
 * 2. V confirmed before it voted. A vote is durable before it counts: after it V was in N's term, and would have said so.
 * 3. V is not L: who votes in a later term leads T no more, and has no lease.
 * 4. So V heard L after the round's date, and voted when its clock had counted `durationMs` since then, or since V started again,
 *    which is later. By then L's clock had counted the lease.
 * 5. An election that a leader asked for is exempt from 4, or nobody could take over. It is for the term behind that leader's, so
 *    that leader is L, or N would not be the first; and from before `timeout-now` leaves L has no lease in term T. The message
 *    may be late; so this holds after the transfer was given up, too.
 *
 * What is assumed of clocks: of two replicas' clocks the slower runs at least `1 - clockDriftMax` times as fast as the other.
 * They are monotonic, so what happens to the time of day does not matter. They go on while a process is stopped: a leader that
 * was stopped looks at its clock when it is asked, not at ticks. The clock of a *machine* that sleeps, or of a virtual one that
 * is suspended, may stand still; where that can happen, lease reads are not for it.
 */
export interface LeaseOptions {
  /** Milliseconds, monotonic, from an arbitrary origin. */
  now(): number
  /** Several heartbeat intervals, and at most about an election timeout: no election is won earlier than this. */
  readonly durationMs: number
  /** The part of the faster of two clocks by which the slower may fall behind; 0.1 allows 900 ms to a second. In [0, 1). */
  readonly clockDriftMax: number
}

/** Throws `CONFIG_INVALID` for what makes no sense. How long a tick is, only the host knows. */
export function checkLease({ durationMs, clockDriftMax }: LeaseOptions, checksQuorum: boolean): void {
  const refuse = (detail: string): never => {
    throw new CordilleraError('CONFIG_INVALID', { detail, details: { durationMs, clockDriftMax, checksQuorum } })
  }
  if (!checksQuorum) {
    refuse(
      'lease reads need checkQuorum: voters elect nobody while they hear a leader, so one that is heard and hears nobody ' +
        'must step down by itself, or the group stands still. Set checkQuorum to true, or leave lease out',
    )
  }
  if (!(durationMs > 0 && durationMs < Number.POSITIVE_INFINITY)) {
    refuse(`the duration of a lease is above 0 ms, not ${durationMs}`)
  }
  if (!(clockDriftMax >= 0 && clockDriftMax < 1)) {
    refuse(`the drift of clocks is a part of 1, from 0 to below 1, not ${clockDriftMax}`)
  }
}

/**
 * What a replica owes to the leader that it heard last. Terms, roles and configurations do not matter to it: a learner may be a
 * voter by the time that it is asked.
 */
export class LeaseGrant {
  readonly #options: LeaseOptions
  #heardLeaderAtMs: number

  /** Begins as if a leader had just been heard: one that was heard before a crash is forgotten, and so may be its term. */
  constructor(options: LeaseOptions) {
    this.#options = options
    this.#heardLeaderAtMs = options.now()
  }

  onLeaderHeard(): void {
    this.#heardLeaderAtMs = this.#options.now()
  }

  /** While true no vote and no pre-vote is given, and no election begun, but where a leader asked for it. */
  get isRunning(): boolean {
    return this.#options.now() < this.#heardLeaderAtMs + this.#options.durationMs
  }
}

/** What a leader may build on, in one term. */
export class LeaderLease {
  readonly #options: LeaseOptions
  /** Rounds that have left and are not confirmed, oldest first. None is so old that it could not give a lease any more. */
  #sent: DatedRound[] = []
  #validUntilMs = Number.NEGATIVE_INFINITY
  #isForfeited = false

  constructor(options: LeaseOptions) {
    this.#options = options
  }

  /** Before the first message of `round` leaves. That later ones of it leave later does no harm. */
  onRoundSent(round: number): void {
    const sentAtMs = this.#options.now()
    while (this.#sent.length > 0 && this.#sent[0]!.sentAtMs + this.#spanMs <= sentAtMs) this.#sent.shift()
    this.#sent.push({ round, sentAtMs })
  }

  /** A quorum has confirmed every round up to `confirmed`. */
  onRoundsConfirmed(confirmed: number): void {
    while (this.#sent.length > 0 && this.#sent[0]!.round <= confirmed) {
      this.#validUntilMs = this.#sent.shift()!.sentAtMs + this.#spanMs
    }
  }

  get isValid(): boolean {
    return !this.#isForfeited && this.#options.now() < this.#validUntilMs
  }

  /** Nothing that has left counts any more. */
  revoke(): void {
    this.#sent = []
    this.#validUntilMs = Number.NEGATIVE_INFINITY
  }

  /** Ends it for the rest of the term. */
  forfeit(): void {
    this.#isForfeited = true
  }

  get #spanMs(): number {
    const { durationMs, clockDriftMax } = this.#options
    return durationMs * (1 - clockDriftMax)
  }
}

interface DatedRound {
  readonly round: number
  readonly sentAtMs: number
}
