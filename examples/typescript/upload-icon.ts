/**
 * Uploads a picture as an icon for own content, straight from the disk.
 *
 *   KEEPER_URL=http://localhost:8080 KEEPER_KEY=… npx tsx examples/typescript/upload-icon.ts picture.png
 *
 * Node 22.18 and newer run it as it is. The app needs the scope user:icons:manage.
 */
import { openAsBlob } from 'node:fs'
import { basename } from 'node:path'
import { KeeperError, yoto } from './keeper.ts'

const [path] = process.argv.slice(2)
if (!path) {
  console.error('Which file? upload-icon.ts picture.png')
  process.exit(2)
}

try {
  const name = encodeURIComponent(basename(path).replace(/\.[^.]*$/, ''))
  const response = await yoto(`/media/displayIcons/user/me/upload?autoConvert=true&filename=${name}`, {
    method: 'POST',
    headers: { 'content-type': 'image/png' },
    // Read while it is sent, and of a known length; the keeper passes it on in the same way.
    body: await openAsBlob(path),
  })
  const { displayIcon } = (await response.json()) as { displayIcon: { mediaId: string; new?: true } }
  console.log(`${displayIcon.new ? 'Uploaded' : 'There already'}: yoto:#${displayIcon.mediaId}`)
} catch (error) {
  if (!(error instanceof KeeperError)) throw error
  console.error(error.message)
  process.exitCode = 1
}
