import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Answer, AnsweringNode, json, problem } from './testing/answering-node.js'

/** Operators' commands against a node that answers what it is told: what is sent, printed and waited for. */
const node = new AnsweringNode()
beforeAll(() => node.listen())
afterAll(() => node.close())
beforeEach(() => node.forget())

const operator = (change: object = {}) => ({
  operatorId: 7,
  kind: 'split',
  rangeId: 2,
  nodeId: null,
  state: 'running',
  reason: 'asked for',
  step: 'waiting for the leader',
  startedAt: '2026-01-01T00:00:00.000Z',
  deadline: '2026-01-01T00:10:00.000Z',
  endedAt: null,
  ...change,
})
const done = operator({ state: 'done', result: { left: 2, right: 9 } })

/** One answer after the other; the last one again and again. */
function inTurn(...answers: readonly Answer[]): Answer {
  let at = 0
  return (res, req) => answers[Math.min(at++, answers.length - 1)]!(res, req)
}

const requests = () => node.received.map(({ method, url, body }) => `${method} ${url} ${body}`.trim())
const WAIT = 'GET /v1/admin/operators/7?wait=true&timeoutMs=30000'

describe('what is read', () => {
  it('status', async () => {
    const body = { clusterId: 'c', version: '0.1.0', nodeCount: 3, rangeCount: 17, healthy: true, health: 'fine' }
    node.answer = json(body)
    expect((await node.run(['status'])).out).toMatch(/nodes +3\n/)
    expect((await node.run(['status', '-o', 'json'])).out).toBe(`${JSON.stringify(body)}\n`)
    expect(node.received[0]!.url).toBe('/v1/admin/cluster')
  })

  it('node ls, node show', async () => {
    node.answer = json({ nodes: [{ nodeId: 1, state: 'live', httpAddress: 'h:1', peerAddress: 'h:2', locality: '' }] })
    const { out } = await node.run(['node', 'ls'])
    expect(out.split('\n')[0]).toMatch(/^NODE +STATE +HTTP/)
    expect(out.split('\n')[1]).toMatch(/^ +1 +live +h:1 +h:2/)
    expect((await node.run(['node', 'show', '1'])).out).toMatch(/^NODE +1\npeerAddress|^NODE +1\nstate +live/)
    expect(node.received.map(({ url }) => url)).toEqual(['/v1/admin/nodes', '/v1/admin/nodes/1'])
  })

  it('range ls, with size and load; it follows cursors for a table', async () => {
    const range = (rangeId: number) => ({
      rangeId,
      keyspace: 'default',
      start: '',
      end: null,
      epoch: { version: 1, confVersion: 2 },
      leader: null,
      term: 0,
      bytes: 4096,
      readsPerSec: 1.5,
      writesPerSec: 22,
      replicas: [{ replicaId: 3, nodeId: 1, type: 'voter', commitIndex: 4, appliedIndex: 4, lag: null }],
    })
    node.answer = (res, req) =>
      json(req.url!.includes('cursor') ? { ranges: [range(8)] } : { ranges: [range(7)], cursor: 'next' })(res, req)
    const { out } = await node.run(['range', 'ls', '--node', '1'])
    const lines = out.trimEnd().split('\n')
    expect(lines[0]).toMatch(/BYTES +READS\/S +WRITES\/S +NODES +LAG$/)
    expect(lines[1]).toMatch(/ 7 +default .* 4096 +1\.5 +22 +1 +\?$/)
    expect(lines).toHaveLength(3)
    expect(node.received.map(({ url }) => url)).toEqual([
      '/v1/admin/ranges?node=1',
      '/v1/admin/ranges?node=1&cursor=next',
    ])
    expect((await node.run(['range', 'ls', '--limit', '1'])).err).toContain('--cursor next')
    const shown = (await node.run(['range', 'show', '7'])).out
    expect(node.received.at(-1)!.url).toBe('/v1/admin/ranges/7')
    expect(shown).toMatch(/^RANGE +7\n/)
    expect(shown).toMatch(/\nepoch +1\.2\n/)
    expect(shown).toMatch(/REPLICA +NODE +TYPE/)
  })

  it('range ls says which bounds are spelled in base64url', async () => {
    const parts = { keyspace: 'k', epoch: { version: 1, confVersion: 1 }, leader: 1, term: 1, bytes: 0 }
    const range = { ...parts, readsPerSec: 0, writesPerSec: 0, replicas: [] }
    const text = { ...range, rangeId: 2, start: '', end: 'b' }
    node.answer = json({ ranges: [text, { ...range, rangeId: 3, start: 'Yg', end: '_w', encoding: 'base64url' }] })
    const { out, err } = await node.run(['range', 'ls'])
    expect(out).toMatch(/\n +2 +k +b +1\.1 /)
    expect(out).toMatch(/\n +3 +k +base64url:Yg +base64url:_w +1\.1 /)
    expect(err).toContain('--encoding base64url')
    node.answer = json({ ranges: [text] })
    expect((await node.run(['range', 'ls'])).err).toBe('')
  })

  it('range explain', async () => {
    node.answer = json({
      rangeId: 2,
      decisions: [{ at: 'T', kind: 'merge', verdict: 'no', code: 'warm', detail: 'a b' }],
    })
    expect((await node.run(['range', 'explain', '2'])).out).toMatch(/\nT +merge +no +warm +a b\n/)
  })

  it('operator ls, show and cancel', async () => {
    const failed = operator({ operatorId: 6, state: 'failed', error: { code: 'CONFLICT', detail: 'frozen' } })
    const moving = operator({ kind: 'change-replicas', nodeId: 4, goal: { add: 4, remove: 1 } })
    const cutting = operator({ goal: { keyspace: 'default', key: 'm', right: 9 } })
    node.answer = json({ operators: [done, failed, operator(), moving, cutting] })
    const lines = (await node.run(['operator', 'ls'])).out.split('\n')
    expect(lines[0]).toMatch(/^OPERATOR +KIND +RANGE +NODE +GOAL +STATE +STARTED +DETAIL$/)
    expect(lines[1]).toMatch(/ 7 +split +2 +- +- +done .* left 2, right 9$/)
    expect(lines[2]).toMatch(/CONFLICT: frozen$/)
    expect(lines[3]).toMatch(/running .* waiting for the leader$/)
    expect(lines[4]).toMatch(/ 7 +change-replicas +2 +4 +add 4, remove 1 +running/)
    expect(lines[5]).toMatch(/ 7 +split +2 +- +keyspace "default", key "m", right 9 +running/)
    node.answer = json({ operator: operator() })
    expect((await node.run(['operator', 'show', '7'])).out).toMatch(/reason +asked for\n/)
    expect((await node.run(['operator', 'cancel', '7', '-o', 'json'])).out).toBe(
      `${JSON.stringify({ operator: operator() })}\n`,
    )
    expect(requests().slice(1)).toEqual(['GET /v1/admin/operators/7', 'DELETE /v1/admin/operators/7'])
  })
})

describe('a command', () => {
  it.each([
    ['node drain 3', '/nodes/3/drain', {}],
    ['node undrain 3', '/nodes/3/undrain', {}],
    ['node decommission 3', '/nodes/3/decommission', {}],
    ['node recommission 3', '/nodes/3/recommission', {}],
    ['range split 2', '/ranges/2/split', {}],
    ['range split 2 --key m', '/ranges/2/split', { key: 'm' }],
    ['range split 2 --key ff --encoding hex', '/ranges/2/split?encoding=hex', { key: 'ff' }],
    ['range split 2 --key m --keyspace a', '/ranges/2/split?keyspace=a', { key: 'm' }],
    ['range split 2 --key 8 --keyspace a --spread', '/ranges/2/split?keyspace=a&spread=true', { key: '8' }],
    ['range split 2 --at-version 3', '/ranges/2/split', { version: 3 }],
    ['range merge 2', '/ranges/2/merge', {}],
    ['range merge 2 --at-version 3', '/ranges/2/merge', { version: 3 }],
    ['range transfer-leader 2 --to 3', '/ranges/2/transfer-leader', { node: 3 }],
    ['range move 2 --from 1 --to 4', '/ranges/2/replicas', { add: 4, remove: 1 }],
  ])('%s', async (line, target, body) => {
    node.answer = json({ operator: done }, 202)
    expect(await node.run(line.split(' '))).toMatchObject({ status: 0, err: '' })
    expect(requests()).toEqual([`POST /v1/admin${target} ${JSON.stringify(body)}`])
    expect(node.receivedHeaders[0]!['content-type']).toBe('application/json')
  })

  it('waits until its operator has ended, and says what that does', async () => {
    const steps = [operator(), operator({ step: 'b' }), operator({ step: 'b' }), done]
    node.answer = inTurn(...steps.map((step) => json({ operator: step })))
    const { status, out, err } = await node.run(['range', 'split', '2'])
    expect(status).toBe(0)
    expect(out).toMatch(/done .* left 2, right 9\n$/)
    expect(err).toBe('operator 7 (split): waiting for the leader\noperator 7 (split): b\n')
    expect(requests().slice(1)).toEqual([WAIT, WAIT, WAIT])
    node.answer = inTurn(json({ operator: operator() }, 202), json({ operator: done }))
    const body = await node.run(['range', 'split', '2', '--wait', '-o', 'json'])
    expect(body).toEqual({ status: 0, out: `${JSON.stringify({ operator: done })}\n`, err: '' })
  })

  it('only begins with --no-wait', async () => {
    node.answer = json({ operator: operator() }, 202)
    const { status, out } = await node.run(['node', 'drain', '1', '--no-wait'])
    expect([status, node.received.length]).toEqual([0, 1])
    expect(out).toContain('running')
  })

  it('fails when its operator fails, or is cancelled', async () => {
    const error = { code: 'UNAVAILABLE', detail: 'node 4 does not answer' }
    node.answer = inTurn(json({ operator: operator() }), json({ operator: operator({ state: 'failed', error }) }))
    expect(await node.run(['range', 'split', '2', '-o', 'json'])).toEqual({
      status: 1,
      out: '',
      err: 'cordillera: UNAVAILABLE: operator 7 (split) failed: node 4 does not answer (try again, or another node with --endpoint)\n',
    })
    node.answer = json({ operator: operator({ state: 'cancelled' }) })
    expect((await node.run(['range', 'split', '2'])).err).toContain('CONFLICT: operator 7 (split) cancelled')
    node.answer = json({ operator: operator({ state: 'failed', error: { code: 'NEW', detail: 'd' } }) })
    expect((await node.run(['range', 'split', '2'])).err).toContain('CONFLICT: operator 7 (split) failed: NEW: d')
  })

  it('goes on waiting over a failure that may pass, and says where to look when it does not', async () => {
    node.answer = inTurn(json({ operator: operator() }), problem(503, 'UNAVAILABLE'), json({ operator: done }))
    expect(await node.run(['range', 'split', '2'])).toMatchObject({ status: 0 })
    node.answer = inTurn(json({ operator: operator() }), problem(404, 'NOT_FOUND'))
    const { status, err } = await node.run(['range', 'split', '2', '-o', 'json'])
    expect(status).toBe(1)
    expect(err).toContain('NOT_FOUND: the detail; the operator goes on without this command')
    expect(err).toContain('cordillera operator show 7')
  })

  it('says where to look when its answer got lost', async () => {
    node.answer = (res) => res.destroy()
    expect((await node.run(['node', 'drain', '1'])).err).toMatch(/OUTCOME_UNKNOWN: .*cordillera operator ls/)
    expect((await node.run(['operator', 'cancel', '1'])).err).toMatch(/OUTCOME_UNKNOWN: .*cordillera operator ls/)
    node.answer = problem(504, 'OUTCOME_UNKNOWN')
    expect((await node.run(['range', 'merge', '1'])).err).toMatch(/OUTCOME_UNKNOWN: .*cordillera operator ls/)
  })

  it.each([
    ['node drain', 'NODE'],
    ['node drain x', 'NODE is a whole number'],
    ['node drain 0', 'NODE is a whole number'],
    ['node drain 1 2', 'arguments'],
    ['node drian 1', 'drain'],
    ['range split 2 --encoding rot13', 'encoding'],
    ['range move 2 --to 4', '--from'],
    ['range move 2 --from 1 --to 4.5', '--to is a whole number'],
    ['range transfer-leader 2', '--to'],
    ['range merge -1', 'CONFIG_INVALID'],
    ['range merge 2 --at-version 1.1', '--at-version'],
    ['operator cancel 7x', 'OPERATOR is a whole number'],
    ['settings set', 'name=value'],
    ['settings', '--help'],
  ])('%s is refused, and nothing is sent', async (line, word) => {
    const { status, err } = await node.run(line.split(' '))
    expect(status).toBe(1)
    expect(err).toMatch(/^cordillera: CONFIG_INVALID: /)
    expect(err).toContain(word)
    expect(node.received).toEqual([])
  })

  it('passes on a refusal', async () => {
    node.answer = problem(409, 'CONFLICT')
    expect(await node.run(['range', 'merge', '2'])).toEqual({
      status: 1,
      out: '',
      err: 'cordillera: CONFLICT: the detail\n',
    })
  })
})

describe('range recover', () => {
  const loss = problem(400, 'BAD_REQUEST', 'three entries')
  const recover = (options: { stdin?: string; isTerminal?: boolean }, ...flags: readonly string[]) => {
    node.answer = inTurn(loss, json({ operator: operator({ kind: 'recover', state: 'done' }) }))
    return node.run(['range', 'recover', '2', ...flags], options)
  }
  const asked = 'POST /v1/admin/ranges/2/recover {"acceptDataLoss":false}'
  const confirmed = 'POST /v1/admin/ranges/2/recover {"acceptDataLoss":true}'

  it('says what may be lost, and asks for the number of the range', async () => {
    const { status, err } = await recover({ isTerminal: true, stdin: '2\n' }, '--unsafe')
    expect(status).toBe(0)
    expect(err).toMatch(/^What may be lost: three entries\nTo go on without it, type the number of the range \(2\): /)
    expect(requests()).toEqual([asked, confirmed])
  })

  it.each(['', 'yes\n', '22\n', '\n'])('does nothing for the answer %j', async (stdin) => {
    const { status, err } = await recover({ isTerminal: true, stdin }, '--unsafe')
    expect([status, requests()]).toEqual([1, [asked]])
    expect(err).toContain('nothing was done')
  })

  it('does not ask with --yes, and cannot without a terminal', async () => {
    expect(await recover({}, '--unsafe', '--yes')).toMatchObject({
      status: 0,
      err: 'What may be lost: three entries\n',
    })
    expect((await recover({ stdin: '2\n' }, '--unsafe')).err).toContain('--yes')
    expect(requests()).toEqual([asked, confirmed, asked])
  })

  it('asks nothing of the node without --unsafe, and passes on other refusals', async () => {
    expect((await recover({}, '--yes')).err).toContain('--unsafe')
    expect(node.received).toEqual([])
    node.answer = problem(404, 'NOT_FOUND')
    expect((await node.run(['range', 'recover', '2', '--unsafe', '--yes'])).err).toContain('NOT_FOUND')
    expect(node.received).toHaveLength(1)
  })
})

describe('settings', () => {
  const values = { placementEnabled: true, replicas: 3, balanceTolerance: 0.05 }
  const properties = {
    placementEnabled: { type: 'boolean', description: 'splits and moves' },
    replicas: { type: 'integer', minimum: 1, maximum: 9, description: 'how many' },
    balanceTolerance: { type: 'number', minimum: 0, maximum: 1 },
  }
  beforeEach(() => {
    node.answer = (res, req) =>
      req.url === '/v1/openapi.json'
        ? json({ components: { schemas: { ClusterSettings: { properties } } } })(res, req)
        : json(values)(res, req)
  })

  it('show prints bounds and meanings, or the body', async () => {
    const { out } = await node.run(['settings', 'show'])
    expect(Buffer.from(out, 'latin1').toString('utf8')).toMatch(/\nreplicas +3 +1 … 9 +how many\n/)
    expect(out).toMatch(/\nplacementEnabled +true +true, false +splits and moves\n/)
    expect((await node.run(['settings', 'show', '-o', 'json'])).out).toBe(`${JSON.stringify(values)}\n`)
  })

  it('set sends all that was given at once', async () => {
    const set = ['settings', 'set', 'placementEnabled=false', 'replicas=5', 'balanceTolerance=0.1']
    expect((await node.run(set)).out).toContain('SETTING')
    const body = { placementEnabled: false, replicas: 5, balanceTolerance: 0.1 }
    expect(requests().at(-1)).toBe(`PUT /v1/admin/settings ${JSON.stringify(body)}`)
  })

  it.each([
    ['replica=5', 'did you mean replicas?'],
    ['xyz=5', 'settings show'],
    ['__proto__=5', 'settings show'],
    ['replicas', 'name=value'],
    ['replicas=five', 'replicas is a number'],
    ['replicas=64MiB', 'without a unit'],
    ['replicas=', 'replicas is a number'],
    ['placementEnabled=1', 'true or false'],
    ['replicas=3 replicas=5', 'twice'],
  ])('set %s is refused', async (pairs, word) => {
    const { status, err } = await node.run(['settings', 'set', ...pairs.split(' ')])
    expect(status).toBe(1)
    expect(err).toContain(word)
    expect(requests()).toEqual(['GET /v1/openapi.json'].slice(0, node.received.length))
  })
})
