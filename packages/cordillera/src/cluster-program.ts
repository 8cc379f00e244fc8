import { type Command, Option } from 'commander'
import { nodeCommand, nodeList, nodeShow, showStatus } from './cluster-commands.js'
import type { ClusterAction } from './command-context.js'
import { operatorCancel, operatorList, operatorShow } from './operator-commands.js'
import {
  rangeExplain,
  rangeList,
  rangeMerge,
  rangeMove,
  rangeShow,
  rangeSplit,
  rangeTransferLeader,
} from './range-commands.js'
import { rangeRecover } from './range-recover.js'
import { settingsSet, settingsShow } from './settings-commands.js'

/** Makes `run` the action of a command that talks to a node. */
export type OnCluster = (command: Command, run: ClusterAction) => void

/** What people operate a cluster with: `status`, `node`, `range`, `operator` and `settings`. */
export function addClusterCommands(program: Command, onCluster: OnCluster): void {
  onCluster(program.command('status').description('how the cluster is'), showStatus)
  addNodes(program.command('node').description('nodes of the cluster'), onCluster)
  addRanges(program.command('range').description('ranges of the key space'), onCluster)
  addOperators(program.command('operator').description('running and recent changes of the placement'), onCluster)
  addSettings(program.command('settings').description('settings of the cluster'), onCluster)
}

function addNodes(node: Command, onCluster: OnCluster): void {
  onCluster(node.command('ls').description('list the nodes'), nodeList)
  onCluster(node.command('show <NODE>').description('all that is known of a node'), nodeShow)
  const add = (name: Parameters<typeof nodeCommand>[0], description: string): void =>
    onCluster(waiting(node.command(`${name} <NODE>`).description(description)), nodeCommand(name))
  add('drain', 'move the leaderships away, before a restart')
  add('undrain', 'let a drained node lead again')
  add('decommission', 'move all replicas away, before it is switched off for good')
  add('recommission', 'let a node have replicas again')
}

function addRanges(range: Command, onCluster: OnCluster): void {
  const list = range
    .command('ls')
    .description('list the ranges, in key order, with their size and load')
    .option('--key <key>', 'the range that holds this key')
    .addOption(keyEncoding())
    .option('--node <id>', 'ranges with a replica on this node')
    .option('--keyspace <name>', 'ranges of this keyspace')
    .option('--spread', 'of the spread keyspace of this name')
    .option('--limit <n>', 'at most so many')
    .option('--cursor <cursor>', 'go on where the last list ended')
  onCluster(list, rangeList)
  onCluster(range.command('show <RANGE>').description('all that is known of a range'), rangeShow)
  onCluster(range.command('explain <RANGE>').description('what was decided about a range, and why'), rangeExplain)
  const split = range
    .command('split <RANGE>')
    .description('split a range in two')
    .option('--key <key>', 'where the right one begins; without it, where they balance')
    .addOption(keyEncoding())
    .option('--keyspace <name>', "the keyspace of the key, if not the range's own")
    .option('--spread', 'the spread keyspace of this name; the key begins with a bucket, as in range ls')
  onCluster(waiting(seen(split)), rangeSplit)
  const merge = range.command('merge <RANGE>').description('merge a range with its right neighbour')
  onCluster(waiting(seen(merge)), rangeMerge)
  const transfer = range
    .command('transfer-leader <RANGE>')
    .description('make another replica the leader')
    .requiredOption('--to <NODE>', 'a node with a voting replica')
  onCluster(waiting(transfer), rangeTransferLeader)
  const move = range
    .command('move <RANGE>')
    .description('move a replica from one node to another')
    .requiredOption('--from <NODE>', 'the node that has it')
    .requiredOption('--to <NODE>', 'the node that gets it')
  onCluster(waiting(move), rangeMove)
  const recover = range
    .command('recover <RANGE>')
    .description('make a range go on after most of its replicas were lost')
    .option('--unsafe', 'acknowledged writes may be lost: say which, and ask')
    .option('--yes', 'do not ask')
  onCluster(waiting(recover), rangeRecover)
}

/** A command that changes the range once more when it is given again; not so with this. */
function seen(command: Command): Command {
  return command.option('--at-version <N>', 'only while its version, the first number of EPOCH in range ls, is this')
}

function addOperators(operator: Command, onCluster: OnCluster): void {
  onCluster(operator.command('ls').description('list them, newest first'), operatorList)
  onCluster(operator.command('show <OPERATOR>').description('all that is known of one'), operatorShow)
  const cancel = operator.command('cancel <OPERATOR>').description('ask one to end; what cannot be undone is finished')
  onCluster(cancel, operatorCancel)
}

function addSettings(settings: Command, onCluster: OnCluster): void {
  onCluster(settings.command('show').description('show them, with bounds and meanings'), settingsShow)
  onCluster(settings.command('set <name=value...>').description('change some and keep the others'), settingsSet)
}

function waiting(command: Command): Command {
  return command
    .option('--wait', 'until it is done, which is the default')
    .option('--no-wait', 'only begin, and print the operator that does it')
}

function keyEncoding(): Option {
  return new Option('--encoding <encoding>', 'how the key is spelled').choices(['hex', 'base64url'])
}
