import { rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { KEY_KINDS, VALUE_BYTES } from './keys.mjs'
import { DATA_PATH, describeRun, keepLine, makeRunDirectory } from './run-record.mjs'
import { formatRows, median } from './summary.mjs'

/**
 * `npm run bench -- embedded`: a database of this process beside `classic-level` with `sync: true`, on one disk and in turns.
 *
 * Both hold the same keys. In every round each scenario runs on one and then on the other, with the order turned; the ratio is
 * that of the round. Exits with 1 when the median of a ratio is below its goal.
 */
const HELP = `npm run bench -- embedded [options]
  --rounds N        (5)
  --seconds N       of each scenario on each database in a round (2)
  --keys N          that both hold (100000)
  --only A,B        scenarios whose names contain A or B
  --data DIR        bench/.data
  --profile NAME    ours alone, for node --cpu-prof: runs one scenario for --seconds, and keeps no figures
  --quick           does it run at all; keeps no figures and judges none`

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '2' },
    keys: { type: 'string', default: '100000' },
    only: { type: 'string' },
    data: { type: 'string', default: DATA_PATH },
    profile: { type: 'string' },
    quick: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

const VALUES = 256
const CHAINS = 256
const BATCH = 100
const DURABLY = { sync: true }

/** `run` does one of what `unit` counts `per` of; `chains` of them are under way at one time. */
const SCENARIOS = [
  {
    name: 'put-256',
    unit: 'puts',
    chains: CHAINS,
    goal: 3,
    run: (db, pick) => db.put(pick.key(), pick.value(), DURABLY),
  },
  { name: 'put-1', unit: 'puts', chains: 1, goal: 0.7, run: (db, pick) => db.put(pick.key(), pick.value(), DURABLY) },
  {
    name: 'batch-100',
    unit: 'puts',
    per: BATCH,
    chains: 1,
    goal: 0.5,
    run: (db, pick) => db.batch(pick.batch(), DURABLY),
  },
  { name: 'get-256', unit: 'gets', chains: CHAINS, goal: 0.5, run: (db, pick) => db.get(pick.key()) },
  { name: 'get-1', unit: 'gets', chains: 1, goal: 0.5, run: (db, pick) => db.get(pick.key()) },
  { name: 'iterate', unit: 'entries', goal: 0.5, count: iterate },
  { name: 'iterate-all', unit: 'entries', goal: 0.5, count: iterateAll },
]

async function main() {
  const [{ open }, { ClassicLevel }] = await Promise.all([import('cordillera'), importClassicLevel()])
  const directory = makeRunDirectory(options.data)
  const encodings = { keyEncoding: 'utf8', valueEncoding: 'buffer' }
  const ours = open(join(directory, 'ours'), encodings)
  const theirs = new ClassicLevel(join(directory, 'theirs'), encodings)
  const keys = Array.from({ length: options.quick ? 2_000 : Number(options.keys) }, (_, i) => KEY_KINDS.hex(i))
  try {
    if (options.profile !== undefined) return await profile(ours, keys)
    for (const db of [ours, theirs]) await fill(db, keys)
    const scenarios = SCENARIOS.filter(
      ({ name }) => options.only?.split(',').some((part) => name.includes(part)) ?? true,
    )
    const rows = await measure(scenarios, { ours, theirs }, keys)
    return report(scenarios, rows)
  } finally {
    await Promise.all([ours.close(), theirs.close()])
    rmSync(directory, { recursive: true, force: true })
  }
}

/** It is the engine's own dependency, not this folder's. */
function importClassicLevel() {
  const { resolve } = createRequire(import.meta.resolve('cordillera'))
  return import(resolve('classic-level'))
}

async function profile(db, keys) {
  await fill(db, keys)
  const scenario = SCENARIOS.find(({ name }) => name === options.profile)
  if (scenario === undefined) throw new Error(`there is no scenario "${options.profile}"`)
  console.log(`${Math.round(await rateOf(scenario, db, keys, Number(options.seconds)))} ${scenario.unit}/s`)
  return 0
}

async function fill(db, keys) {
  const pick = pickerOf(keys)
  for (let at = 0; at < keys.length; at += 1_000) {
    await db.batch(keys.slice(at, at + 1_000).map((key) => ({ type: 'put', key, value: pick.value() })))
  }
}

async function measure(scenarios, { ours, theirs }, keys) {
  const rounds = options.quick ? 1 : Number(options.rounds)
  const seconds = options.quick ? 0.2 : Number(options.seconds)
  const rows = new Map(scenarios.map(({ name }) => [name, []]))
  // What is compiled and cached in the first one is for both.
  for (const scenario of scenarios) for (const db of [ours, theirs]) await rateOf(scenario, db, keys, seconds / 4)
  for (let round = 0; round < rounds; round++) {
    for (const scenario of scenarios) {
      const rates = {}
      const order = round % 2 === 0 ? ['ours', 'theirs'] : ['theirs', 'ours']
      for (const name of order) rates[name] = await rateOf(scenario, name === 'ours' ? ours : theirs, keys, seconds)
      rows.get(scenario.name).push(rates)
    }
  }
  return rows
}

function report(scenarios, rates) {
  const rows = scenarios.map(({ name, unit, goal }) => {
    const ratios = rates.get(name).map(({ ours, theirs }) => ours / theirs)
    return {
      name: `${name} (${unit})`,
      ours: median(rates.get(name).map(({ ours }) => ours)),
      theirs: median(rates.get(name).map(({ theirs }) => theirs)),
      ratio: median(ratios),
      ratioMin: Math.min(...ratios),
      ratioMax: Math.max(...ratios),
      goal,
    }
  })
  console.log(formatRows(rows, COLUMNS))
  if (options.quick) return 0
  const { rounds, seconds, keys } = options
  keepLine({
    ...describeRun(),
    benchmark: 'embedded',
    rounds,
    seconds,
    keys,
    valueBytes: VALUE_BYTES,
    rows: rows.map(rounded),
  })
  return rows.every(({ ratio, goal }) => ratio >= goal) ? 0 : 1
}

function rounded(row) {
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name,
      typeof value === 'number' ? Number(value.toPrecision(4)) : value,
    ]),
  )
}

const COLUMNS = [
  ['', 'name'],
  ['ours/s', 'ours', 0],
  ['classic-level/s', 'theirs', 0],
  ['ratio', 'ratio', 2],
  ['least', 'ratioMin', 2],
  ['most', 'ratioMax', 2],
  ['goal', 'goal', 1],
]

/** How many a second. */
async function rateOf(scenario, db, keys, seconds) {
  const startedAt = performance.now()
  const endsAt = startedAt + seconds * 1_000
  let count = 0
  if (scenario.count !== undefined) {
    while (performance.now() < endsAt) count += await scenario.count(db)
  } else {
    const { run, per = 1 } = scenario
    const chain = async (pick) => {
      while (performance.now() < endsAt) {
        await run(db, pick)
        count += per
      }
    }
    await Promise.all(Array.from({ length: scenario.chains }, () => chain(pickerOf(keys))))
  }
  return (count * 1_000) / (performance.now() - startedAt)
}

/** Every entry, one by one. */
async function iterate(db) {
  let count = 0
  for await (const [key, value] of db.iterator()) count += key.length > 0 && value.length > 0 ? 1 : 0
  return count
}

async function iterateAll(db) {
  return (await db.iterator().all()).length
}

/** Keys and values by chance. */
function pickerOf(keys) {
  const values = Array.from({ length: VALUES }, (_, i) => Buffer.alloc(VALUE_BYTES, `${i}`))
  const oneOf = (items) => items[Math.floor(Math.random() * items.length)]
  const pick = { key: () => oneOf(keys), value: () => oneOf(values) }
  const operation = () => ({ type: 'put', key: pick.key(), value: pick.value() })
  return { ...pick, batch: () => Array.from({ length: BATCH }, operation) }
}

if (options.help) console.log(HELP)
else process.exitCode = await main()
