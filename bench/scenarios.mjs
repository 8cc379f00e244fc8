/**
 * What is measured: writes and linearizable reads, by connections, sent to one node and to all three. Before them, in
 * each round, the same requests go to the bare server, the yardstick of the machine in that minute.
 */
const OPERATIONS = ['put', 'get']
const TARGETS = ['bare', 'one', 'all']

export function scenariosFor({ connections, only }) {
  const groups = OPERATIONS.flatMap((operation) => connections.map((count) => ({ operation, connections: count })))
  return groups
    .map((group) => ({ ...group, scenarios: TARGETS.map((target) => scenario(group, target)) }))
    .map((group) => ({
      ...group,
      scenarios: group.scenarios.filter(({ name, target }) => target === 'bare' || fits(name, only)),
    }))
    .filter(({ scenarios }) => scenarios.length > 1)
}

function scenario({ operation, connections }, target) {
  return { name: `${operation}-${connections}-${target}`, operation, connections, target }
}

function fits(name, only) {
  return only === undefined || only.split(',').some((part) => name.includes(part))
}

/** What the figures should reach, in the project's own words; the machine's noise is the reader's to judge. */
export const GOALS = [
  { scenarios: ['put-64-one', 'put-64-all'], figure: 'ratio', atLeast: 0.35, is: 'of the bare server' },
  { scenarios: ['get-64-one', 'get-64-all'], figure: 'ratio', atLeast: 0.5, is: 'of the bare server' },
  { scenarios: ['put-256-one', 'put-256-all'], figure: 'writesPerSync', atLeast: 15, is: "writes a node's fdatasync" },
]
