/**
 * Self times of CPU profiles in the format of the inspector (`Profiler.Profile`), added up over profiles.
 *
 * @returns pairs of name and microseconds, most first; what idled is left out. `byCaller` has native functions (system
 * calls among them) by the function of ours for which they ran.
 */
export function selfTimes(profiles) {
  const byPackage = new Map()
  const byFunction = new Map()
  const byCaller = new Map()
  for (const { nodes, samples, timeDeltas } of profiles) {
    const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]))
    const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id])))
    const nameOf = (id) => nameOfFrame(frames.get(id))
    const callerOf = (id) => {
      for (let at = parents.get(id); at !== undefined; at = parents.get(at)) {
        if (OURS.test(frames.get(at).url)) return nameOf(at)
      }
      return '(event loop)'
    }
    // A delta is the time since the sample before: that sample's function ran until now.
    for (let i = 1; i < samples.length; i++) {
      const frame = frames.get(samples[i - 1])
      if (frame === undefined || frame.functionName === '(idle)') continue
      const owner = packageOf(frame)
      add(byPackage, owner, timeDeltas[i])
      add(byFunction, nameOf(samples[i - 1]), timeDeltas[i])
      if (owner === '(native)') add(byCaller, `${nameOf(samples[i - 1])} ← ${callerOf(samples[i - 1])}`, timeDeltas[i])
    }
  }
  return { byPackage: sorted(byPackage), byFunction: sorted(byFunction), byCaller: sorted(byCaller) }
}

const OURS = /\/packages\/[^/]+\/dist\//

function nameOfFrame(frame) {
  return `${packageOf(frame)}  ${frame.functionName || '(anonymous)'}${placeOf(frame)}`
}

function packageOf({ url, functionName }) {
  if (url === '') return functionName.startsWith('(') ? functionName : '(native)'
  if (url.startsWith('node:')) return url.split('/')[0]
  const dependency = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)
  if (dependency !== null) return dependency[1]
  return /\/packages\/([^/]+)\//.exec(url)?.[1] ?? '(other)'
}

function placeOf({ url, lineNumber }) {
  return url === '' ? '' : ` ${url.slice(url.lastIndexOf('/') + 1)}:${lineNumber + 1}`
}

function add(map, name, micros) {
  map.set(name, (map.get(name) ?? 0) + micros)
}

function sorted(map) {
  return [...map].sort(([, a], [, b]) => b - a)
}
