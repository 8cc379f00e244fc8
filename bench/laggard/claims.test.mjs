import { expect, test } from 'vitest'
import { countSnapshots, decideClaims, laterGrowth, summariseNodes } from './claims.mjs'
import { readOptions } from './options.mjs'

/** Which figures break which claim, and which cannot. */
const { bounds } = readOptions([])
const calm = { seconds: 10, writes: 10_000, p99Ms: 20, failures: {} }

function verdicts({ phases = {}, node = {}, snapshots = { installed: 4 }, returned = true, other = {} } = {}) {
  const names = ['quiet', 'fall', 'down', 'return', 'after']
  const claims = decideClaims({
    phases: new Map(names.map((name) => [name, { ...calm, ...phases[name] }])),
    nodes: [{ rssMaxMiB: 300, rssLater: 1, logMaxMiB: 128, logWrittenMiB: 250, ...node }],
    snapshots,
    returned,
    bounds: { ...bounds, ratePerSec: 1000, ...other },
  })
  return Object.fromEntries(claims.map(({ claim, verdict }) => [claim, verdict]))
}

test('a calm run breaks nothing', () => {
  expect(new Set(Object.values(verdicts()))).toEqual(new Set(['holds']))
})

test.each([
  ['writes', { phases: { return: { failures: { 503: 1 } } } }],
  ['rate', { phases: { down: { writes: 9_000 } } }],
  ['memory', { node: { rssMaxMiB: 2_000 } }],
  ['memory-grows', { node: { rssLater: 1.5 } }],
  ['log', { node: { logMaxMiB: 320 } }],
  ['returns', { returned: false }],
  ['snapshots', { snapshots: { installed: 3 } }],
  ['p99', { phases: { return: { p99Ms: 41 } } }],
])('%s is broken alone', (claim, run) => {
  const { [claim]: broken, ...others } = verdicts(run)
  expect(broken).toBe('broken')
  expect(new Set(Object.values(others))).toEqual(new Set(['holds']))
})

test('while leaders are elected writes may fail', () => {
  expect(verdicts({ phases: { fall: { failures: { 503: 9 } } } }).writes).toBe('holds')
})

test('what a run could not have broken is untested', () => {
  expect(verdicts({ node: { logWrittenMiB: 5 } }).log).toBe('untested')
  expect(verdicts({ node: { rssLater: undefined } })['memory-grows']).toBe('untested')
  expect(verdicts({ snapshots: {} }).snapshots).toBe('untested')
  expect(verdicts({ other: readOptions(['--writes', '5000']).bounds }).snapshots).toBe('untested')
})

test('growth is the last third over the second, of enough samples', () => {
  expect(laterGrowth([...Array(5).fill(1), ...Array(5).fill(2), ...Array(5).fill(3)])).toBe(1.5)
  expect(laterGrowth([1, 2, 3])).toBeUndefined()
})

test('a node is summarised over the phases', () => {
  const sample = (rssMiB, logWrittenMiB) => ({
    nodes: [{ name: 'a', rssMiB, logMiB: 64, cacheMiB: 1, logWrittenMiB }],
  })
  const [node] = summariseNodes({ quiet: [sample(9, 1)], down: [sample(20, 100), sample(10, 130)] })
  expect(node).toMatchObject({ name: 'a', rssQuietMiB: 9, rssMaxMiB: 20, logMaxMiB: 64, logWrittenMiB: 30 })
})

test('snapshots are counted from before the return; unreported ones are not zero', () => {
  const before = [{ sent: 1, bytesSent: 10 }, { sent: 0 }]
  const after = [{ sent: 4, bytesSent: 50 }, { sent: 1 }]
  expect(countSnapshots(before, after, { installed: 4 })).toEqual({ sent: 4, installed: 4, bytesSent: undefined })
})

test('options are checked', () => {
  expect(readOptions(['--help'])).toBeUndefined()
  expect(readOptions(['--writes', '7', '--data', 'x'])).toMatchObject({ writes: 7, dataPath: 'x', isQuick: false })
  expect(readOptions(['--quick', '--rate', '9'])).toMatchObject({ isQuick: true, ratePerSec: 9 })
  expect(readOptions([]).bounds.snapshotsMin).toBe(4)
  for (const wrong of [
    ['--writes', '0'],
    ['--ranges', '1.5'],
    ['--load', '2'],
    ['--rate', ''],
    ['--lags', '1'],
  ])
    expect(() => readOptions(wrong)).toThrow(/--/)
})
