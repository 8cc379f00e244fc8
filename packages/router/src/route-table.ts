import type { Key, NodeId, RangeId } from '@cordillera/base'
import type { Descriptor } from '@cordillera/ranges'
import { DescriptorCache } from './descriptor-cache.js'
import type { AnyBatch } from './pending-batch.js'
import { Route, type RouteContext } from './route.js'

/**
 * The known ranges, each with its route once it was needed, and one route more, `homeless`, which sends nothing: there
 * operations wait whose range is not known.
 */
export class RouteTable {
  readonly homeless: Route
  readonly #context: RouteContext
  readonly #onResume: (route: Route) => void
  readonly #cache = new DescriptorCache()
  readonly #routes = new Map<RangeId, Route>()

  constructor(context: RouteContext, onResume: (route: Route) => void) {
    this.#context = context
    this.#onResume = onResume
    this.homeless = new Route(undefined, context, onResume)
  }

  /** In order of keys. */
  descriptors(): Iterable<Descriptor> {
    return this.#cache.all()
  }

  /** The route of the range that holds the key. */
  find(key: Key): Route {
    const descriptor = this.#cache.find(key)
    return descriptor === undefined ? this.homeless : this.#routeTo(descriptor)
  }

  /** The route of the range that holds the keys just below `end`; null: the greatest keys. */
  findBelow(end: Key | null): Route {
    const descriptor = this.#cache.findBelow(end)
    return descriptor === undefined ? this.homeless : this.#routeTo(descriptor)
  }

  leaderOf(rangeId: RangeId): NodeId {
    return this.#routes.get(rangeId)?.leader.settledNode ?? 0
  }

  /**
   * Takes descriptors in. Returns the waiting batches that they concern, in order of age: the caller routes them anew,
   * now that all the news are known.
   */
  learn(descriptors: Iterable<Descriptor>): AnyBatch[] {
    const stale: AnyBatch[] = []
    const news = [...descriptors]
    // A range that was cut out of another one is probably led where that one is. Asked before anything is replaced.
    const formerLeaders = news.map(({ start }) => this.leaderOf(this.#cache.find(start)?.rangeId ?? 0))
    for (const [i, descriptor] of news.entries()) {
      const replaced = this.#cache.tryLearn(descriptor)
      if (replaced === undefined) continue
      for (const { rangeId } of replaced) if (rangeId !== descriptor.rangeId) stale.push(...this.#drop(rangeId))
      stale.push(...(this.#routes.get(descriptor.rangeId)?.setDescriptor(descriptor) ?? []))
      const leader = formerLeaders[i]!
      if (descriptor.replicas.some(({ nodeId }) => nodeId === leader)) this.#routeTo(descriptor).leader.guess(leader)
    }
    stale.push(...this.homeless.takeWaiting())
    return stale.sort((a, b) => a.sequence - b.sequence)
  }

  learnLeader(rangeId: RangeId, node: NodeId): void {
    const descriptor = this.#cache.get(rangeId)
    if (descriptor !== undefined) this.#routeTo(descriptor).leader.onLearned(node)
  }

  /** Ends every pause. */
  close(): void {
    for (const route of this.#routes.values()) route.leader.close()
  }

  #routeTo(descriptor: Descriptor): Route {
    let route = this.#routes.get(descriptor.rangeId)
    if (route === undefined) {
      route = new Route(descriptor, this.#context, this.#onResume)
      this.#routes.set(descriptor.rangeId, route)
    }
    return route
  }

  #drop(rangeId: RangeId): AnyBatch[] {
    const route = this.#routes.get(rangeId)
    if (route === undefined) return []
    this.#routes.delete(rangeId)
    route.isCurrent = false
    route.leader.close()
    return route.takeWaiting()
  }
}
