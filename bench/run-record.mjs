import { execFileSync } from 'node:child_process'
import { appendFileSync, mkdirSync, mkdtempSync, statfsSync } from 'node:fs'
import { cpus } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Where a run keeps its data while it lasts, and its figures afterwards; the same for every benchmark. */
const here = fileURLToPath(new URL('.', import.meta.url))

/** Where data goes when nobody says otherwise. */
export const DATA_PATH = join(here, '.data')

/** A new directory below `dataPath`. Throws when that is in memory. */
export function makeRunDirectory(dataPath) {
  mkdirSync(resolve(dataPath), { recursive: true })
  const directory = mkdtempSync(join(resolve(dataPath), 'run-'))
  refuseMemory(directory)
  return directory
}

/** A fdatasync to memory is none. */
function refuseMemory(directory) {
  const TMPFS = 0x01021994
  if (statfsSync(directory).type === TMPFS)
    throw new Error(`${directory} is in memory; name a directory on a disk with --data`)
}

/** What every line of `results.jsonl` begins with: when, of what, and where it was measured. */
export function describeRun() {
  return {
    at: new Date().toISOString(),
    commit: commit(),
    node: process.version,
    cores: cpus().length,
    cpu: cpus()[0]?.model ?? 'unknown',
  }
}

export function keepLine(run) {
  appendFileSync(join(here, 'results.jsonl'), `${JSON.stringify(run)}\n`)
}

function commit() {
  try {
    const git = (...args) =>
      execFileSync('git', args, { cwd: here, stdio: ['ignore', 'pipe', 'ignore'] })
        .toString()
        .trim()
    const changed = git('status', '--porcelain', '--', '..', ':(exclude)results.jsonl') !== ''
    return git('rev-parse', '--short', 'HEAD') + (changed ? '+changes' : '')
  } catch {
    return 'unknown'
  }
}
