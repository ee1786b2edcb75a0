/**
 * Lists the cards of the family's library.
 *
 *   KEEPER_URL=http://localhost:8080 KEEPER_KEY=… npx tsx examples/typescript/library.ts
 *
 * Node 22.18 and newer run it as it is: node examples/typescript/library.ts. The app needs the scope family:library:view.
 */
import { KeeperError, yoto } from './keeper.ts'

interface Library {
  cards: { card: { title: string; metadata?: { author?: string; media?: { duration?: number } } } }[]
}

try {
  const response = await yoto('/card/family/library')
  const { cards } = (await response.json()) as Library
  for (const { card } of cards) {
    const minutes = Math.round((card.metadata?.media?.duration ?? 0) / 60)
    console.log(`${card.title}${card.metadata?.author ? `, by ${card.metadata.author}` : ''}: ${minutes} min`)
  }
} catch (error) {
  if (!(error instanceof KeeperError)) throw error
  console.error(error.message)
  process.exitCode = 1
}
