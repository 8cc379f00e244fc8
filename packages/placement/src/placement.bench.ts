/**
 * What decisions cost and how good they are, on figures alone and in virtual time: 100 nodes in 10 racks, 10,000 ranges of
 * three replicas.
 *
 * Run by hand: `npx rolldown packages/placement/src/placement.bench.ts --platform node --format esm -o bench.mjs`, then
 * `node --expose-gc bench.mjs [rack] [zipf] [cost]`; without a name, all three. The seed is fixed: the same code gives
 * the same moves.
 *
 * - `rack`: a rack dies. How long until every range has three live replicas again, moves against the fewest possible
 *   (one for each replica lost), and the CPU time of the rounds.
 * - `zipf`: the load of ranges is zipfian. How long until leader load is within the tolerance or explained, and whether
 *   anything moves in the 60 s after that.
 * - `cost`: CPU of one round of a balanced cluster, and the bytes that a range takes in the picture.
 */
import { SeededRandom } from '@cordillera/base'
import { loadBand, movableLoad } from './bands.js'
import { decide, explainRange } from './decide.js'
import { Standing } from './standing.js'
import { VirtualCluster } from './testing/virtual-cluster.js'

const NODES = 100
const RACKS = 10
const RANGES = 10_000

function build(loadOf: (rank: number) => number): VirtualCluster {
  const random = new SeededRandom(7)
  const cluster = new VirtualCluster(Array.from({ length: NODES }, (_, i) => `rack=${i % RACKS}`))
  const ranks = shuffled(RANGES, random)
  for (const rank of ranks) {
    const racks = shuffled(RACKS, random).slice(0, 3)
    const nodes = racks.map((rack) => 1 + rack + RACKS * random.below(NODES / RACKS))
    cluster.addRange(nodes, { load: loadOf(rank), bytes: (8 + random.below(56)) << 20 })
  }
  return cluster
}

function shuffled(count: number, random: SeededRandom): number[] {
  const numbers = Array.from({ length: count }, (_, i) => i)
  for (let i = count - 1; i > 0; i--) {
    const j = random.below(i + 1)
    ;[numbers[i], numbers[j]] = [numbers[j]!, numbers[i]!]
  }
  return numbers
}

/** Steps until nothing is decided and nothing runs. Milliseconds of CPU are those of the decisions alone. */
function run(cluster: VirtualCluster, isDone = () => false) {
  const kinds = new Map<string, number>()
  const rounds: number[] = []
  const startMs = cluster.nowMs
  let doneMs: number | undefined
  for (;;) {
    const decisions = cluster.step((picture) => {
      const before = process.cpuUsage()
      const made = decide(picture)
      const { user, system } = process.cpuUsage(before)
      rounds.push((user + system) / 1000)
      return made
    })
    for (const { operator, code } of decisions) {
      const name = `${operator.kind} (${code})`
      kinds.set(name, (kinds.get(name) ?? 0) + 1)
    }
    if (doneMs === undefined && isDone()) doneMs = cluster.nowMs - startMs
    if (decisions.length === 0 && cluster.running.length === 0) break
  }
  const cpuMs = rounds.reduce((a, b) => a + b, 0)
  const sorted = [...rounds].sort((a, b) => a - b)
  return { kinds, seconds: (cluster.nowMs - startMs) / 1000, doneSeconds: (doneMs ?? 0) / 1000, cpuMs, sorted }
}

function printRun(title: string, { kinds, seconds, cpuMs, sorted }: ReturnType<typeof run>): void {
  const decided = [...kinds.values()].reduce((a, b) => a + b, 0)
  const [median, most] = [sorted[sorted.length >> 1]!, sorted.at(-1)!]
  console.log(`${title}: at rest after ${seconds} s (virtual), ${decided} decisions in ${sorted.length} rounds`)
  for (const [name, count] of kinds) console.log(`  ${name}: ${count}`)
  console.log(
    `  CPU of a round: median ${median.toFixed(1)} ms, most ${most.toFixed(1)} ms; ` +
      `${Math.round(decided / (cpuMs / 1000))} decisions/s of CPU`,
  )
}

function benchRack(): void {
  const cluster = build(() => 100)
  printRun('even load, placed at random', run(cluster))
  const rack = cluster.nodes.filter(({ locality }) => locality === 'rack=3').map(({ nodeId }) => nodeId)
  const lost = rack.reduce((sum, nodeId) => sum + cluster.replicasOf(nodeId), 0)
  const bytes = cluster.ranges
    .filter(({ descriptor }) => descriptor.replicas.some(({ nodeId }) => rack.includes(nodeId)))
    .reduce((sum, range) => sum + range.bytes, 0)
  cluster.setUp(rack, false)
  printRun('a rack is down, not yet dead', run(cluster))
  cluster.nowMs += cluster.settings.deadAfterMs
  const movesBefore = cluster.done.get('replace-replica') ?? 0
  const isProtected = (): boolean => rack.every((nodeId) => cluster.replicasOf(nodeId) === 0)
  const result = run(cluster, isProtected)
  printRun('the rack is dead', result)
  const moves = (cluster.done.get('replace-replica') ?? 0) - movesBefore
  const live = NODES - rack.length
  const inParallel = live * cluster.settings.movesPerNodeMax
  console.log(
    `  protected again after ${result.doneSeconds} s; with ${inParallel} snapshots of ${cluster.bytesPerSec >> 20} MiB/s ` +
      `at once ${Math.round(bytes / cluster.bytesPerSec / inParallel)} s is the least`,
  )
  console.log(`  ${moves} moves for ${lost} replicas lost: ${(moves / lost).toFixed(3)} of the fewest possible`)
}

function benchZipf(): void {
  const cluster = build((rank) => 100_000 / (rank + 1))
  const result = run(cluster)
  printRun('zipfian load', result)
  const standing = new Standing(cluster.picture())
  const { balanceTolerance, balanceLoadMinPerSec } = cluster.settings
  const band = loadBand(standing.ranges, NODES, balanceTolerance, balanceLoadMinPerSec)
  const giants = [...band.giants]
  const off = standing.nodes.map((node) => {
    const largest = Math.max(0, ...giants.filter(({ leader }) => leader === node).map(({ load }) => load))
    return movableLoad(band, node.load, largest) / band.share - 1
  })
  const explained = giants.filter(({ rangeId }) =>
    explainRange(cluster.picture(), rangeId).some(({ code }) => code === 'hot-range'),
  )
  const isGiants = (at: number): boolean => giants.some(({ leader }) => leader?.at === at)
  const percent = (share: number): string => `${(share * 100).toFixed(1)} %`
  console.log(
    `  ${giants.length} ranges exceed an even share alone, ${explained.length} of them explained as hot-range`,
  )
  for (const [title, some] of [
    ['nodes without one of them', off.filter((_, at) => !isGiants(at))],
    ['nodes with one, beside it', off.filter((_, at) => isGiants(at))],
  ] as const) {
    console.log(`  ${title}: load off the even share ${percent(Math.min(...some))} to ${percent(Math.max(...some))}`)
  }
  const counts = cluster.nodes.map(({ nodeId }) => cluster.leadersOf(nodeId))
  console.log(`  leaders a node: ${Math.min(...counts)} to ${Math.max(...counts)}`)
  let moved = 0
  for (let second = 0; second < 60; second++) moved += cluster.step().length
  console.log(`  decisions in the next 60 s: ${moved}`)
}

function benchCost(): void {
  const cluster = build(() => 100)
  cluster.settle()
  const picture = cluster.picture()
  for (let i = 0; i < 20; i++) decide(picture)
  const rounds = 50
  const before = process.cpuUsage()
  for (let i = 0; i < rounds; i++) decide(picture)
  const { user, system } = process.cpuUsage(before)
  console.log(`one round of a balanced cluster: ${((user + system) / 1000 / rounds).toFixed(1)} ms of CPU`)
  const start = performance.now()
  for (let i = 0; i < 10; i++) explainRange(picture, 2 + i)
  console.log(`one explanation: ${((performance.now() - start) / 10).toFixed(1)} ms`)
  globalThis.gc?.()
  const heapBefore = process.memoryUsage().heapUsed
  const copy = structuredClone(picture.ranges)
  globalThis.gc?.()
  const bytes = (process.memoryUsage().heapUsed - heapBefore) / copy.length
  console.log(`a range in the picture: ${Math.round(bytes)} bytes, its descriptor included`)
  const beforeRound = process.memoryUsage().heapUsed
  const standing = new Standing(picture)
  globalThis.gc?.()
  const roundBytes = (process.memoryUsage().heapUsed - beforeRound) / standing.ranges.length
  console.log(`a range in a round, for as long as it lasts: ${Math.round(roundBytes)} bytes`)
}

const benches: Readonly<Record<string, () => void>> = { rack: benchRack, zipf: benchZipf, cost: benchCost }
const names = process.argv.slice(2)
for (const name of names.length === 0 ? Object.keys(benches) : names) benches[name]?.()
