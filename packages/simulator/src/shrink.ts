import type { SeedOptions } from './seed-options.js'

/**
 * Makes a failing run smaller: leaves out faults, in halves, then quarters, then one by one (Zeller and Hildebrandt,
 * Simplifying and Isolating Failure-Inducing Input, TSE 2002), and shortens what is left. A candidate counts only when it
 * fails as well; that it may fail of something else is for the reader to see.
 */
export interface ShrinkPorts {
  /** Runs the options: how many faults there were, if the run failed; undefined when it kept every promise. */
  readonly tryRun: (options: SeedOptions) => Promise<{ readonly struck: number } | undefined>
  /** Called for every smaller run that fails. */
  readonly onSmaller: (options: SeedOptions) => void
}

/** Returns the smallest run found; the options themselves when they do not fail. */
export async function shrink(options: SeedOptions, ports: ShrinkPorts): Promise<SeedOptions> {
  const first = await ports.tryRun(options)
  if (first === undefined) return options
  let best = options
  let { struck } = first
  const attempt = async (candidate: SeedOptions): Promise<boolean> => {
    const failed = await ports.tryRun(candidate)
    if (failed === undefined) return false
    best = candidate
    struck = failed.struck
    ports.onSmaller(candidate)
    return true
  }
  best = await shorten(best, attempt)
  await leaveOut(best, struck, attempt)
  for (const simpler of SIMPLER) {
    const candidate = simpler(best)
    if (candidate !== undefined) await attempt(candidate)
  }
  return best
}

type Attempt = (candidate: SeedOptions) => Promise<boolean>

/** Less time for things to go wrong, as long as it halves. */
async function shorten(options: SeedOptions, attempt: Attempt): Promise<SeedOptions> {
  let best = options
  while (best.faultsMs > 500) {
    const shorter = { ...best, faultsMs: Math.floor(best.faultsMs / 2) }
    if (!(await attempt(shorter))) return best
    best = shorter
  }
  return best
}

/** As few faults as possible of the `struck` first ones. */
async function leaveOut(options: SeedOptions, struck: number, attempt: Attempt): Promise<void> {
  const before = new Set(options.faults.leftOut)
  let kept = Array.from({ length: struck }, (_, i) => i).filter((i) => !before.has(i))
  const without = (out: ReadonlySet<number>): SeedOptions => {
    const leftOut = Array.from({ length: struck }, (_, i) => i).filter(
      (i) => before.has(i) || !kept.includes(i) || out.has(i),
    )
    return { ...options, faults: { ...options.faults, leftOut } }
  }
  for (let size = Math.ceil(kept.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = 0; from < kept.length; ) {
      const out = new Set(kept.slice(from, from + size))
      if (await attempt(without(out))) kept = kept.filter((i) => !out.has(i))
      else from += size
    }
  }
}

const SIMPLER: readonly ((options: SeedOptions) => SeedOptions | undefined)[] = [
  (options) => (options.ranges === 1 ? undefined : { ...options, ranges: 1 }),
  (options) => withWorkload(options, { clients: 2 }),
  (options) => withWorkload(options, { keys: 1 }),
]

function withWorkload(options: SeedOptions, change: Partial<SeedOptions['workload']>): SeedOptions {
  return { ...options, workload: { ...options.workload, ...change } }
}
