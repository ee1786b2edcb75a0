import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { contentsOf, type Login, storeLogin } from '../crash/folder'
import { ask, forkHelper, type Program, temporaryFolder } from './processes'
import type { Question, Yoto } from './yoto'

export const KEY = 'bench-keeper-key-0123456789'
export const AUTHORIZATION = { authorization: `Bearer ${KEY}` }
const BUILT_SERVICE = fileURLToPath(new URL('../../.output/server/index.mjs', import.meta.url))

/** What every measurement needs: somebody in Yoto's place, and services that are signed in there. */
export interface Scene {
  yoto: Yoto
  tellYoto<Answer>(question: Question): Promise<Answer>
  /** The built service on a folder of its own, with a token there that is valid for a day. */
  signedIn(): Promise<{ program: Program; dir: string; token: { access_token: string; expires_at: string } }>
  service(dir: string): Program
}

export async function openScene(): Promise<Scene> {
  const process: ChildProcess = forkHelper('yoto.ts')
  const [yoto] = (await once(process, 'message')) as [Yoto]
  const tellYoto = <Answer>(question: Question) => ask<Answer>(process, question)
  const service = (dir: string) => ({
    entry: BUILT_SERVICE,
    env: {
      DATA_DIR: dir,
      KEEPER_KEY: KEY,
      YOTO_CLIENT_ID: yoto.clientId,
      YOTO_AUTH_URL: yoto.authUrl,
      YOTO_API_URL: yoto.apiUrl,
    },
  })
  return {
    yoto,
    tellYoto,
    service,
    async signedIn() {
      const dir = temporaryFolder()
      await storeLogin(dir, yoto.clientId, await tellYoto<Login>('seed'))
      const { record } = await contentsOf(dir)
      const { access_token = '', expires_at = '' } = record
      return { program: service(dir), dir, token: { access_token, expires_at } }
    },
  }
}
