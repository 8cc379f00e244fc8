/**
 * `npm run bench -- [NAME] [options]`: starts the benchmark of that name, each a file of its own that reads its options
 * from the command line; without a name, the comparison with a bare server.
 */
const BENCHMARKS = {
  laggard: './laggard.mjs',
  balance: './balance.mjs',
  embedded: './embedded.mjs',
  etcd: './etcd.mjs',
  profile: './profile.mjs',
}

const [name] = process.argv.slice(2)
if (name === undefined || name.startsWith('-')) {
  await import('./against-bare.mjs')
} else if (Object.hasOwn(BENCHMARKS, name)) {
  process.argv.splice(2, 1)
  await import(BENCHMARKS[name])
} else {
  console.error(
    `there is no benchmark "${name}"; there is ${Object.keys(BENCHMARKS).join(', ')}, or none for the default`,
  )
  process.exitCode = 1
}
