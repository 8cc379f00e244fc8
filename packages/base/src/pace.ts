import type { Clock } from './clock.js'

/** Of what it takes, background work rests so many times as long … */
const REST_FACTOR = 7
/** … and no longer than this. */
const REST_MS_MAX = 400

/**
 * Runs a step of background work, and then rests for seven times as long as it took: so it takes an eighth of a resource at
 * most, whose speed nobody has to know, and less when others use it and each step takes longer.
 */
export async function paced<T>(clock: Clock, step: () => Promise<T>): Promise<T> {
  const startedAt = clock.now()
  const result = await step()
  const restMs = Math.min(REST_MS_MAX, REST_FACTOR * (clock.now() - startedAt))
  if (restMs > 0) await new Promise<void>((resolve) => clock.after(restMs, resolve))
  return result
}
