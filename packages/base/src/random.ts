/** A source of random numbers, handed in. {@link SeededRandom} gives the same numbers for the same seed everywhere. */
export interface Random {
  /** A uniform integer in [0, 2^32). */
  u32(): number
  /** A uniform integer in [0, bound); `bound` is 1 to 2^32. */
  below(bound: number): number
}

/** sfc32 (Chris Doty-Humphrey, PractRand), seeded through splitmix32. Deterministic; not for secrets. */
export class SeededRandom implements Random {
  #a: number
  #b: number
  #c: number
  #counter = 1

  constructor(seed: number) {
    let state = seed >>> 0
    const next = (): number => {
      state = (state + 0x9e3779b9) | 0
      let z = state ^ (state >>> 16)
      z = Math.imul(z, 0x21f0aaad)
      z ^= z >>> 15
      z = Math.imul(z, 0x735a2d97)
      return z ^ (z >>> 15)
    }
    this.#a = next()
    this.#b = next() ^ Math.floor(seed / 2 ** 32)
    this.#c = next()
    for (let i = 0; i < 12; i++) this.u32()
  }

  u32(): number {
    const t = (((this.#a + this.#b) | 0) + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + t
    return t >>> 0
  }

  below(bound: number): number {
    return Math.floor((this.u32() / 2 ** 32) * bound)
  }
}
