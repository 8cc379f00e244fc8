import { expect, it } from 'vitest'
import { defaultClusterSettings } from './cluster-settings.js'
import { decodeHeartbeatAnswer, nodeSettingsOf } from './heartbeat-answer.js'

it('reads what a driver answers, before and after it has read the settings, and refuses what is none', () => {
  const early = { resync: true, membership: 'draining' }
  expect(decodeHeartbeatAnswer(early)).toEqual(early)
  const late = { ...early, settings: nodeSettingsOf(defaultClusterSettings) }
  expect(decodeHeartbeatAnswer({ ...late, more: 1 })).toEqual(late)
  const settings = { rangeSplitLoadPerSec: 1 }
  for (const body of [null, 7, {}, { resync: true }, { ...early, settings: null }, { ...early, settings }]) {
    expect(() => decodeHeartbeatAnswer(body)).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }))
  }
})
