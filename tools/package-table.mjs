/**
 * Who may import whom: the import table of the design, as data.
 *
 * A package imports packages listed before it and named in its row, and nothing else of this repository. Tests obey the
 * same table. `simulator` runs the node on virtual sockets and so does without `transport`; `console` speaks to a node
 * over HTTP alone.
 */
export const mayImport = {
  base: [],
  'raft-core': ['base'],
  ranges: ['base'],
  placement: ['base', 'ranges'],
  'raft-log': ['base', 'raft-core'],
  state: ['base', 'ranges'],
  wire: ['base', 'raft-core', 'ranges'],
  transport: ['base', 'wire'],
  replicas: ['base', 'raft-core', 'ranges', 'raft-log', 'state', 'wire'],
  router: ['base', 'ranges', 'wire'],
  system: ['base', 'ranges', 'placement', 'router'],
  node: ['base', 'raft-core', 'ranges', 'placement', 'raft-log', 'state', 'wire', 'replicas', 'router', 'system'],
  server: ['base', 'ranges', 'router', 'node'],
  cordillera: [
    'base',
    'raft-core',
    'ranges',
    'placement',
    'raft-log',
    'state',
    'wire',
    'transport',
    'replicas',
    'router',
    'system',
    'node',
    'server',
  ],
  simulator: [
    'base',
    'raft-core',
    'ranges',
    'placement',
    'raft-log',
    'state',
    'wire',
    'replicas',
    'router',
    'system',
    'node',
  ],
  console: [],
}

/** The composition root: the only package that touches real clocks and randomness. */
export const COMPOSITION_ROOT = 'cordillera'

/** The name under which a package is imported. */
export const packageName = (directory) => (directory === 'cordillera' ? 'cordillera' : `@cordillera/${directory}`)

/** The directory of a package of this repository, or undefined for any other package. */
export function tryPackageDirectory(name) {
  if (name === 'cordillera') return 'cordillera'
  return name.startsWith('@cordillera/') ? name.slice('@cordillera/'.length) : undefined
}

/** Words that say nothing about what is inside. */
export const bannedNames = ['util', 'utils', 'helper', 'helpers', 'common', 'manager', 'shared']
