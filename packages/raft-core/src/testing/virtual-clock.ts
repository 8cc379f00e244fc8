/**
 * The monotonic clock of one replica: it counts `rate` times the time that passes, and begins anew with every start, so that
 * nothing remembered from an earlier one makes sense.
 */
export class VirtualClock {
  nowMs = 0
  rate = 1

  pass(ms: number): void {
    this.nowMs += ms * this.rate
  }

  restart(): void {
    this.nowMs = 0
  }
}
