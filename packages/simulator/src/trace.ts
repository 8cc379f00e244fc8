/**
 * A fingerprint of everything that happened, in order: two runs of one seed must end with the same. It tells runs
 * apart, and resists no attacker (FNV-1a, two lanes of 32 bits).
 */
export class Trace {
  #a = 0x811c9dc5
  #b = 0xc9dc5811
  /** How many things were noted. */
  count = 0

  noteText(text: string): void {
    this.count++
    for (let i = 0; i < text.length; i++) this.#add(text.charCodeAt(i))
    this.#add(0xffff)
  }

  noteBytes(bytes: Uint8Array): void {
    this.count++
    for (let i = 0; i < bytes.length; i++) this.#add(bytes[i]!)
    this.#add(0xffff)
  }

  get hash(): string {
    return hex(this.#a) + hex(this.#b)
  }

  #add(value: number): void {
    this.#a = Math.imul(this.#a ^ value, 0x01000193)
    this.#b = Math.imul(this.#b ^ value ^ (this.#a >>> 24), 0x01000193)
  }
}

function hex(word: number): string {
  return (word >>> 0).toString(16).padStart(8, '0')
}
