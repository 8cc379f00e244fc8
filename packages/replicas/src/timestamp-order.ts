import { assert, type Term, type Version } from '@cordillera/base'

/**
 * Which timestamps a range's leader may still use: all rules that make two reads at one timestamp agree, in one place.
 *
 * A read at timestamp S sees, of every key, the newest version at or below S. Two such reads agree when the set of
 * versions at or below S no longer changes once the first of them is served. With the oracle's promises (a timestamp is
 * given out once; an answer is above everything given out before its request was sent) that follows from:
 *
 * 1. *A write's timestamp is asked for after the write arrived, and in the term in which it is proposed*: a claim is made
 *    as its request leaves, takes the writes that are there, and notes the term, which `admits` compares. An answer is for
 *    nobody who came after the request had left (`LeaderWrites`).
 * 2. *Entries are proposed in the order of their timestamps*: `admits` wants more than everything proposed here.
 * 3. *A write's timestamp is above every read that was begun here*: a read first raises the floor to its S; `admits` wants
 *    more than the floor. What is not admitted is discarded and asked for again, never changed.
 * 4. *A read waits for everything proposed before it*: it notes the log's last index when it raises the floor and is
 *    served once that much has applied (`Replica.execute`).
 * 5. *A read is served only after leadership was confirmed by a round begun after it arrived.*
 *
 * Within one term: a version at or below S comes from an entry proposed before the read (then rule 4 has it applied
 * first) or after it (then rule 3 puts it above S). Across terms: let a leader of term t serve S, and a later leader
 * propose. By rule 5 a quorum was still in term t after the read had arrived, so the later leader was elected after
 * that; by rule 1 its timestamps were asked for later still; and S had been given out before the read was sent. So all
 * its versions are above S. What an earlier leader proposed is in the later leader's log or can never commit; what is in
 * the log is applied before any read is confirmed (a leader confirms nothing before an entry of its own term has
 * committed). A proposal of term t that the read did not wait for comes from rule 2 and 3 above S again. The floor
 * therefore need not outlive a term, and a new leader needs no timestamp of its own for one: rule 1 is that timestamp.
 *
 * What a transaction wrote is resolved by an entry with a later timestamp than its version. That changes nothing: a reader at or
 * above that version has met the lock, which rule 3 puts below it, and has been told of the commit; the commit itself is an
 * entry like any other (`ranges/decisions/0003-transactions.md`).
 *
 * Rule 2 also holds across terms, by the same argument, and is asserted when entries apply.
 */
export class TimestampOrder {
  #floor: Version = 0
  #last: Version = 0
  #lastApplied: Version = 0

  /** No write at or below may be proposed any more. */
  get floor(): Version {
    return this.#floor
  }

  /** A read at `timestamp` has begun. */
  raiseFloor(timestamp: Version): void {
    if (timestamp > this.#floor) this.#floor = timestamp
  }

  /** Whether commands from `first` on, asked for in `askedIn`, may be proposed in `term`. */
  admits(first: Version, askedIn: Term, term: Term): boolean {
    return askedIn === term && first > this.#floor && first > this.#last
  }

  /** An entry with the versions `first` to `last` was proposed. */
  onProposed(first: Version, last: Version): void {
    assert(first > this.#last, 'entries are proposed in the order of their timestamps')
    this.#last = Math.max(first, last)
  }

  /** An entry with the versions `first` to `last` was applied, whoever proposed it. */
  onApplied(first: Version, last: Version): void {
    assert(first > this.#lastApplied, 'timestamps rise along the log of a range')
    this.#lastApplied = Math.max(first, last)
    if (this.#lastApplied > this.#last) this.#last = this.#lastApplied
  }
}
