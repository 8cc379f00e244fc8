export * from './apply-entry.js'
export * from './descriptor.js'
export * from './descriptor-codec.js'
export * from './epoch.js'
export * from './initial-spans.js'
export * from './keyspace.js'
export * from './limits.js'
export * from './stored-value.js'
export {
  type Command,
  checkWriteBlock,
  decodeWriteBlock,
  decodeWriteBlockHeader,
  joinBlocks,
  type WriteBlock,
  WriteBlockBuilder,
  type WriteBlockHeader,
} from './write-block.js'
