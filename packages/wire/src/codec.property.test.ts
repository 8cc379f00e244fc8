import { CordilleraError } from '@cordillera/base'
import { type AppendRequest, sealEntry } from '@cordillera/raft-core'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { writeAnswer, writeAsk, writeAskFailed } from './ask-codec.js'
import { writeMessage } from './raft-codec.js'
import { PART_BYTES, replyShape, writeReply } from './range-reply-codec.js'
import { writeRequest } from './range-request-codec.js'
import { readFrame } from './read-frame.js'
import { FRAME_BYTES_LEAVE, FRAME_HEAD_BYTES, RecordKind } from './record.js'
import { writeSnapshotMessage } from './snapshot-codec.js'
import { framesOf, RecordedSink, recordsOf } from './testing/frames.js'
import { calls, messages, requests, snapshotMessages } from './testing/samples.js'

const corrupt = expect.objectContaining({ code: 'CORRUPT' })

describe('records', () => {
  it('of Raft are read as they were written, in order, however many share a frame', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 2 ** 40 }), messages), { maxLength: 20 }), (all) => {
        const frames = framesOf(({ out }) => {
          for (const [rangeId, message] of all) writeMessage(out, rangeId, message)
        })
        expect(recordsOf(frames)).toEqual(all.map(([rangeId, message]) => ({ rangeId, message })))
      }),
      { numRuns: 300 },
    )
  })

  it('of requests and their replies are read as they were written', () => {
    fc.assert(
      fc.property(fc.array(calls, { maxLength: 8 }), (all) => {
        const sink = new RecordedSink()
        const sent = framesOf((frames) => {
          all.forEach(({ request }, i) => {
            writeRequest(frames.out, i + 1, request)
          })
          all.forEach(({ request, reply }, i) => {
            sink.shapes.set(i + 1, replyShape(request))
            writeReply(frames, i + 1, reply)
          })
        })
        const expected = [
          ...all.map(({ request }, i) => ({ callId: i + 1, request })),
          ...all.map(({ reply }, i) => ({ callId: i + 1, reply })),
        ]
        expect(recordsOf(sent, sink)).toEqual(expected)
      }),
      { numRuns: 300 },
    )
  })

  it('of snapshots are read as they were written', () => {
    fc.assert(
      fc.property(fc.array(snapshotMessages, { maxLength: 10 }), (all) => {
        const frames = framesOf(({ out }) => {
          for (const message of all) writeSnapshotMessage(out, message)
        })
        expect(recordsOf(frames)).toEqual(all)
      }),
    )
  })

  it('of open shape, pings and pongs are read as they were written', () => {
    const body = Buffer.from([0xc0])
    const frames = framesOf(({ out }) => {
      out.u8(RecordKind.ping).varint(300).u8(RecordKind.pong).varint(1)
      writeAsk(out, 7, 'report', body)
      writeAnswer(out, 7, body)
      writeAskFailed(out, 8, new CordilleraError('JOIN_REFUSED', { detail: 'no: ü' }))
    })
    const error = expect.objectContaining({ code: 'JOIN_REFUSED', message: 'no: ü' })
    const expected = [{ ping: 300 }, { pong: 1 }, { callId: 7, method: 'report', body }, { callId: 7, body }]
    expect(recordsOf(frames)).toEqual([...expected, { callId: 8, error }])
  })

  it('that are no answer to what was asked are refused, and those nobody waits for are skipped', () => {
    fc.assert(
      fc.property(calls, requests, ({ request, reply }, other) => {
        const frames = framesOf((target) => {
          writeReply(target, 1, reply)
          target.out.u8(RecordKind.ping).varint(1)
        })
        expect(recordsOf(frames)).toEqual([{ ping: 1 }])
        const sink = new RecordedSink()
        const shape = replyShape(other)
        sink.shapes.set(1, shape)
        const isSame = other.kind === request.kind && shape.count === replyShape(request).count
        if (other.kind === 'timestamps' && reply.kind === 'timestamps') return
        if (other.kind === 'index' && reply.kind === 'indexed') return
        if (isSame || reply.kind === 'refused' || reply.kind === 'unknown') return
        if (reply.kind === 'scanned' && other.kind === 'scan' && reply.entries.length <= other.limit) return
        const isPart = reply.kind === 'values' && reply.values.length > 0 && reply.values.length <= shape.count
        if (isPart && other.kind === 'read') return
        expect(() => recordsOf(frames, sink)).toThrow(corrupt)
      }),
    )
  })
})

describe('large replies', () => {
  it('come in several frames and one piece', () => {
    const values = Array.from({ length: 40 }, (_, i) =>
      i % 5 === 0 ? undefined : { version: i, value: Buffer.alloc(1 << 20, i) },
    )
    const sink = new RecordedSink()
    const shape = replyShape({
      kind: 'read',
      rangeId: 1,
      epochVersion: 1,
      at: 0,
      byFollower: false,
      keys: values.map(() => 'k'),
    })
    sink.shapes.set(5, shape)
    const sent = framesOf((frames) => writeReply(frames, 5, { kind: 'values', values }))
    expect(sent.length).toBe(32)
    for (const { length } of sent) expect(length).toBeLessThan(PART_BYTES + FRAME_BYTES_LEAVE + (1 << 20))
    const [{ reply }] = recordsOf(sent, sink) as [{ reply: { values: typeof values } }]
    expect(reply.values.length).toBe(40)
    reply.values.forEach((value, i) => {
      expect(value?.version).toBe(values[i]?.version)
      expect(Buffer.compare(value?.value ?? Buffer.alloc(0), values[i]?.value ?? Buffer.alloc(0))).toBe(0)
    })
  })

  it('of scans as well', () => {
    const entries = Array.from({ length: 5000 }, (_, i) => ({
      key: `key ${i}`,
      version: i + 1,
      value: Buffer.alloc(1000, i),
    }))
    const request = { kind: 'scan', rangeId: 1, epochVersion: 1, at: 0, start: '', end: null } as const
    const sink = new RecordedSink()
    sink.shapes.set(
      5,
      replyShape({ ...request, reverse: false, byFollower: false, limit: 5000, bytesMax: 1, values: true }),
    )
    const sent = framesOf((frames) => writeReply(frames, 5, { kind: 'scanned', entries, more: true }))
    expect(sent.length).toBeGreaterThan(5)
    const [{ reply }] = recordsOf(sent, sink) as [{ reply: { entries: typeof entries; more: boolean } }]
    expect(reply.more).toBe(true)
    expect(reply.entries.map(({ key, version }) => [key, version])).toEqual(entries.map((e) => [e.key, e.version]))
  })
})

describe('the entries of an append', () => {
  const append = (payloadBytes: number): AppendRequest => ({
    ...{ kind: 'append-request', from: 1, to: 2, term: 3, prevIndex: 9, prevTerm: 2, commitIndex: 9 },
    entries: [sealEntry(3, 10, 0, Buffer.alloc(18 + payloadBytes, 7))],
  })
  const decoded = (frame: Uint8Array): Uint8Array => {
    const [record] = recordsOf([frame]) as [{ message: AppendRequest }]
    return record.message.entries[0]!.bytes
  }

  it('are views of a frame that is little more than them, and copies out of a larger one', () => {
    const [small] = framesOf(({ out }) => writeMessage(out, 1, append(50_000)))
    expect(decoded(small!).buffer).toBe(small!.buffer)
    const [large] = framesOf(({ out }) => {
      writeMessage(out, 1, append(50_000))
      writeMessage(out, 1, append(100_000))
    })
    const bytes = decoded(large!)
    expect(bytes.buffer.byteLength).toBe(50_018)
    expect(Buffer.compare(bytes, append(50_000).entries[0]!.bytes)).toBe(0)
  })

  it('are contiguous and in the order of their terms, or refused', () => {
    const entry = (term: number, index: number) => sealEntry(term, index, 0, Buffer.alloc(20))
    const bad = [
      [entry(3, 11)],
      [entry(3, 10), entry(3, 12)],
      [entry(1, 10)],
      [entry(3, 10), entry(2, 11)],
      [entry(4, 10)],
    ]
    for (const entries of bad) {
      const frames = framesOf(({ out }) => writeMessage(out, 1, { ...append(1), entries }))
      expect(() => recordsOf(frames)).toThrow(corrupt)
    }
  })
})

describe('garbage', () => {
  const anyFrame = fc
    .tuple(fc.array(fc.tuple(fc.integer({ min: 1, max: 9 }), messages), { maxLength: 5 }), fc.array(calls))
    .map(([raft, all]) => {
      const [frame] = framesOf((frames) => {
        for (const [rangeId, message] of raft) writeMessage(frames.out, rangeId, message)
        all.forEach(({ request, reply }, i) => {
          writeRequest(frames.out, i + 1, request)
          writeReply(frames, i + 1, reply)
        })
        writeAsk(frames.out, 1, 'm', Buffer.from([0xc0]))
        writeAskFailed(frames.out, 1, new CordilleraError('CLOSED'))
      })
      return { frame: frame!, requests: all.map(({ request }) => request) }
    })

  /** Either decodes or throws CORRUPT. */
  function decode(frame: Uint8Array, sink: RecordedSink): void {
    try {
      readFrame(frame, sink)
    } catch (error) {
      expect(error).toBeInstanceOf(CordilleraError)
      expect((error as CordilleraError).code).toBe('CORRUPT')
    }
  }

  it('of random bytes is CORRUPT or a record, and nothing else', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.integer({ min: 1, max: 50 }),
        requests,
        (bytes, kind, request) => {
          const sink = new RecordedSink()
          for (let i = 1; i < 4; i++) sink.shapes.set(i, replyShape(request))
          const head = Buffer.alloc(FRAME_HEAD_BYTES + 1)
          head[FRAME_HEAD_BYTES] = kind
          decode(Buffer.concat([head, bytes]), sink)
          decode(bytes, sink)
        },
      ),
      { numRuns: 5000 },
    )
  })

  it('of mutated frames is CORRUPT or a record, and nothing else', () => {
    const mutation = fc.record({ at: fc.nat(), byte: fc.nat(255), cut: fc.option(fc.nat()) })
    fc.assert(
      fc.property(anyFrame, fc.array(mutation, { minLength: 1, maxLength: 4 }), (sample, mutations) => {
        let frame = Buffer.from(sample.frame)
        for (const { at, byte, cut } of mutations) {
          frame[FRAME_HEAD_BYTES + (at % Math.max(1, frame.length - FRAME_HEAD_BYTES))] = byte
          if (cut !== null) frame = frame.subarray(0, Math.max(1, cut % (frame.length + 1)))
        }
        const sink = new RecordedSink()
        sample.requests.forEach((request, i) => {
          sink.shapes.set(i + 1, replyShape(request))
        })
        decode(frame, sink)
      }),
      { numRuns: 2000 },
    )
  })

  it('that claims huge counts or lengths is refused before anything is allocated', () => {
    const huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]
    const bodies = [
      [RecordKind.appendRequest, 1, 1, 2, 3, 0, 0, 0, ...huge, ...huge],
      [RecordKind.read, 1, 1, 1, ...huge],
      [RecordKind.write, 1, 1, ...huge, 0],
      [RecordKind.written, 1, 1, 10, 0, 0, 0, 1, ...huge, 1],
      [RecordKind.values, 1, 1, 9, 0, 0, 0, ...huge],
      [RecordKind.scanned, 1, 1, 10, 0, 0, 0, 0, ...huge],
      [RecordKind.refused, 1, 1, 10, 0, 0, 0, 0, 0, ...huge],
      [RecordKind.ask, 1, 1, 65, ...huge],
    ]
    for (const body of bodies) {
      const sink = new RecordedSink()
      sink.shapes.set(1, { kind: 'scan', count: 10, values: undefined, entries: undefined })
      expect(() => readFrame(Buffer.from([...new Uint8Array(FRAME_HEAD_BYTES), ...body]), sink)).toThrow(corrupt)
    }
  })
})
