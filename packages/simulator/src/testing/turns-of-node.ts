import type { RunTurns } from '../virtual-clock.js'

/** Turns a pass of the event loop, of which each costs a look at the operating system. */
const TURNS_A_PASS = 64

/**
 * The turns of a simulation on Node's own event loop: before each `setImmediate` callback Node runs every promise job
 * that is left, however many those cause, so that none is ever overtaken. The one place where the simulator touches
 * the platform; it lives with the test code because that is the only root that composes simulations.
 */
export const turnsOfNode: RunTurns = (turn) =>
  new Promise((resolve, reject) => {
    let isOver = false
    const run = (): void => {
      if (isOver) return
      try {
        if (turn()) return
        resolve()
      } catch (error) {
        reject(error)
      }
      isOver = true
    }
    const pass = (): void => {
      run()
      if (isOver) return
      for (let i = 1; i < TURNS_A_PASS; i++) setImmediate(run)
      setImmediate(pass)
    }
    setImmediate(pass)
  })
