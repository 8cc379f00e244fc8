import { open } from 'cordillera'

/** Writes until it is killed, and says what was acknowledged: a line for each key, and one for each batch of two. */
const db = open(process.argv[2])
await db.open()
await Promise.all(
  Array.from({ length: 8 }, async (_, writer) => {
    for (let i = 0; ; i++) {
      const name = `${writer}-${i}`
      if (i % 4 === 3) {
        await db.batch([
          { type: 'put', key: `a-${name}`, value: name },
          { type: 'put', key: `z-${name}`, value: name },
        ])
        console.log(`batch ${name}`)
      } else {
        await db.put(name, name)
        console.log(`put ${name}`)
      }
    }
  }),
)
