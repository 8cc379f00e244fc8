/**
 * The numbers that name things, each with a type of its own so that a term is not passed where an index is wanted.
 *
 * A plain number is accepted for any of them (arithmetic stays readable); one kind is not accepted for another. All
 * are non-negative safe integers.
 */
declare const flavor: unique symbol
export type Flavored<T, Name extends string> = T & { readonly [flavor]?: Name }

/** A node of the cluster: a process with a store. From 1; never given out twice. */
export type NodeId = Flavored<number, 'NodeId'>
/** A range, for its whole life. The system range is 1. */
export type RangeId = Flavored<number, 'RangeId'>
/** A range's copy on one store. Unique in the whole cluster, across ranges, and never used again. */
export type ReplicaId = Flavored<number, 'ReplicaId'>
/** A Raft term. 0 before the first election. */
export type Term = Flavored<number, 'Term'>
/** The place of an entry in a Raft log. The first entry is 1; 0 is "before the log". */
export type LogIndex = Flavored<number, 'LogIndex'>
/** Counts the starts of a node, from 1; durable before anything is sent. */
export type Incarnation = Flavored<number, 'Incarnation'>
/** The version of a value; at most 53 bits. 0 is "absent". */
export type Version = Flavored<number, 'Version'>

/** No node, replica or range. */
export const NONE = 0
