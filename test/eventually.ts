import { setTimeout as pause } from 'node:timers/promises'

const STEP_MS = 10

/**
 * Waits until `check` gives something that is neither undefined nor false, and resolves to it. Rejects after `timeoutMs`
 * with what was waited for, and with the latest error of `check` when it threw.
 */
export async function eventually<T>(
  what: string,
  check: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 30_000,
): Promise<T> {
  const deadlineMs = performance.now() + timeoutMs
  let latest: unknown
  for (;;) {
    try {
      const found = await check()
      if (found !== undefined && found !== false) return found
    } catch (error) {
      latest = error
    }
    if (performance.now() > deadlineMs) throw new Error(`not within ${timeoutMs} ms: ${what}`, { cause: latest })
    await pause(STEP_MS)
  }
}
