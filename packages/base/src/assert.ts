/**
 * Assertions of invariants. They stay on in production: a store whose invariant is broken must stop, not serve.
 */

/** A broken invariant: a defect of this program or damage that it must not build on. It stops the store. */
export class InvariantViolation extends Error {
  override readonly name = 'InvariantViolation'
}

/** Throws {@link InvariantViolation} unless `condition` holds. Keep the message constant on hot paths. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InvariantViolation(message)
}

/** For the default branch of a switch over a union. */
export function assertNever(value: never): never {
  throw new InvariantViolation(`unexpected value ${JSON.stringify(value)}`)
}
