export { NodeRegistry, type NodeRegistryParts, type Registration } from './node-registry.js'
