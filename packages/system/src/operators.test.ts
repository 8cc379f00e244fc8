import { CordilleraError, type ErrorCode, type Key, ManualClock, silentLogger } from '@cordillera/base'
import { describe, expect, it } from 'vitest'
import type { NodeTask, OperatorTask } from './operator.js'
import { Operators } from './operators.js'
import type { TableRow } from './system-table.js'

/** Records as the system range keeps them; an operation takes 5 ms, and fails as the test says. */
class FakeTable {
  readonly rows = new Map<Key, TableRow>()
  readonly #clock: ManualClock
  #version = 0
  /** Codes of the next writes; then all succeed. */
  failures: ErrorCode[] = []

  constructor(clock: ManualClock) {
    this.#clock = clock
  }

  async list(prefix: Key): Promise<TableRow[]> {
    await this.#pass()
    return [...this.rows.values()].filter(({ key }) => key.startsWith(prefix))
  }

  async put(key: Key, value: unknown, ifVersion: number): Promise<number> {
    await this.#pass()
    const code = this.failures.shift()
    if (code !== undefined && code !== 'OUTCOME_UNKNOWN') throw new CordilleraError(code)
    if ((this.rows.get(key)?.version ?? 0) !== ifVersion) throw new CordilleraError('VERSION_MISMATCH')
    const version = ++this.#version
    this.rows.set(key, { key, version, value: JSON.parse(JSON.stringify(value)) })
    if (code !== undefined) throw new CordilleraError(code)
    return version
  }

  async delete(key: Key): Promise<void> {
    await this.#pass()
    this.rows.delete(key)
  }

  states(): string[] {
    return [...this.rows.values()].map(({ value }) => (value as { readonly state: string }).state)
  }

  #pass(): Promise<void> {
    return new Promise((resolve) => this.#clock.after(5, resolve))
  }
}

function world() {
  const clock = new ManualClock()
  const table = new FakeTable(clock)
  const performed: OperatorTask[] = []
  const abandoned: OperatorTask[] = []
  /** How the next tries end; then all are done. */
  const outcomes: ErrorCode[] = []
  let lastId = 0
  const driver = (): Operators =>
    new Operators({
      ...{ table, clock, logger: silentLogger },
      ids: { allocate: () => new Promise((resolve) => clock.after(5, () => resolve(++lastId))) },
      actions: {
        perform: async (task) => {
          await new Promise<void>((resolve) => clock.after(100, resolve))
          performed.push(task)
          const code = outcomes.shift()
          if (code !== undefined) throw new CordilleraError(code)
          return undefined
        },
        abandon: async (task) => {
          abandoned.push(task)
        },
      },
    })
  return { clock, table, performed, abandoned, outcomes, operators: driver(), driver }
}

const DEADLINE_MS = 60_000
const transfer = (rangeId: number): OperatorTask => ({ kind: 'transfer-leader', rangeId, nodeId: 2 })
const merge: OperatorTask = { kind: 'merge', rangeId: 5, rightId: 6, key: 'k', attempt: 1 }
const onNode = (kind: NodeTask['kind']): NodeTask => ({ kind, nodeId: 3 })
const start = (operators: Operators, task: OperatorTask) => operators.start(task, 'a test', DEADLINE_MS)
const codeOf = (error: unknown): string => (error instanceof CordilleraError ? error.code : String(error))

describe('operators', () => {
  it('are durable before anything is done for them, and are done once', async () => {
    const { clock, table, performed, operators } = world()
    const { operatorId } = await clock.run(start(operators, transfer(5)))
    expect([table.states(), performed]).toEqual([['running'], []])
    expect(await clock.run(operators.await(operatorId, DEADLINE_MS))).toMatchObject({ state: 'done' })
    expect([table.states(), performed]).toEqual([['done'], [transfer(5)]])
  })

  it('that cannot be written do not begin, and are in nobody’s way', async () => {
    const { clock, table, performed, operators } = world()
    table.failures = ['UNAVAILABLE']
    await expect(clock.run(start(operators, transfer(5)))).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await clock.run(start(operators, transfer(5)))
    await clock.drain()
    expect(performed).toEqual([transfer(5)])
  })

  it.each([
    [transfer(5), transfer(5)],
    [merge, transfer(6)],
    [transfer(5), merge],
    [onNode('decommission'), onNode('decommission')],
    [onNode('recommission'), onNode('drain')],
  ])('are one a range and one a node at a time: %o, then %o', async (first, second) => {
    const { clock, operators } = world()
    const both = [start(operators, first), start(operators, second)].map((one) => one.then(() => 'begun', codeOf))
    expect(await clock.run(Promise.all(both))).toEqual(['begun', 'CONFLICT'])
    expect(await clock.run(start(operators, second).then(() => 'begun', codeOf))).toBe('CONFLICT')
    await clock.run(operators.await(1, DEADLINE_MS))
    expect(await clock.run(start(operators, second).then(() => 'begun', codeOf))).toBe('begun')
  })

  it('of other ranges and nodes run beside each other', async () => {
    const { clock, operators } = world()
    const tasks = [transfer(5), transfer(7), onNode('drain'), { ...onNode('drain'), nodeId: 5 }]
    await clock.run(Promise.all(tasks.map((task) => start(operators, task))))
    expect(operators.list().map(({ state }) => state)).toEqual(Array(4).fill('running'))
  })

  it('are tried again while that may help, and no more when it cannot', async () => {
    const { clock, outcomes, performed, operators } = world()
    outcomes.push('UNAVAILABLE', 'OUTCOME_UNKNOWN', 'CONFLICT')
    const { operatorId } = await clock.run(start(operators, transfer(5)))
    const ended = await clock.run(operators.await(operatorId, DEADLINE_MS))
    expect(ended).toMatchObject({ state: 'failed', error: { code: 'CONFLICT' } })
    expect(performed.length).toBe(3)
  })

  it('end at their deadline, and undo what is half done', async () => {
    const { clock, outcomes, abandoned, operators } = world()
    outcomes.push(...new Array<ErrorCode>(1_000).fill('UNAVAILABLE'))
    const { operatorId } = await clock.run(start(operators, merge))
    const ended = await clock.run(operators.await(operatorId, 2 * DEADLINE_MS))
    expect(ended).toMatchObject({ state: 'failed', error: { code: 'UNAVAILABLE' } })
    expect([abandoned, ended.endedAtMs! - ended.startedAtMs >= DEADLINE_MS]).toEqual([[merge], true])
  })

  it('end when they are cancelled', async () => {
    const { clock, outcomes, abandoned, operators } = world()
    outcomes.push('UNAVAILABLE')
    const { operatorId } = await clock.run(start(operators, merge))
    operators.cancel(operatorId)
    expect(await clock.run(operators.await(operatorId, DEADLINE_MS))).toMatchObject({ state: 'cancelled' })
    expect(abandoned).toEqual([merge])
    expect(() => operators.cancel(operatorId)).toThrow(expect.objectContaining({ code: 'CONFLICT' }))
  })

  it('say that they are done once that is durable, however often it takes', async () => {
    const { clock, table, operators } = world()
    const { operatorId } = await clock.run(start(operators, transfer(5)))
    table.failures = ['UNAVAILABLE', 'OUTCOME_UNKNOWN']
    expect(await clock.run(operators.await(operatorId, DEADLINE_MS))).toMatchObject({ state: 'done' })
    expect([table.failures, table.states()]).toEqual([[], ['done']])
  })

  it('go on, as they were begun, with the driver that takes over', async () => {
    const { clock, performed, operators, driver } = world()
    const { operatorId } = await clock.run(start(operators, transfer(5)))
    operators.close()
    const next = driver()
    await clock.run(next.load())
    await expect(clock.run(start(next, transfer(5)))).rejects.toMatchObject({ code: 'CONFLICT' })
    expect(await clock.run(next.await(operatorId, DEADLINE_MS))).toMatchObject({ state: 'done', task: transfer(5) })
    await clock.drain()
    // The one that was deposed may still have been at it.
    expect(performed.length).toBeLessThanOrEqual(2)
  })

  it('are remembered, 200 of them, when they have ended', async () => {
    const { clock, table, operators } = world()
    for (let i = 0; i < 210; i++) {
      const { operatorId } = await clock.run(start(operators, transfer(i)))
      await clock.run(operators.await(operatorId, DEADLINE_MS))
    }
    await clock.drain()
    expect([table.rows.size, operators.list().length, operators.list()[0]?.operatorId]).toEqual([200, 200, 210])
  })
})
