import { eventHandler } from 'h3'
import { defineRouteMeta } from 'nitropack/runtime'
import { useService } from '../../../server/service'

defineRouteMeta({
  openAPI: {
    operationId: 'logout',
    tags: ['Sign-in'],
    summary: 'Sign out',
    description: 'Revokes the sign-in at Yoto, as far as Yoto can be reached, and removes it here.',
    responses: {
      200: {
        description: 'Nobody is signed in any more.',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Done' } } },
      },
    },
  },
})

export default eventHandler(async () => {
  const { wasSignedIn, revoked } = await (await useService()).keeper.signOut()
  if (!wasSignedIn) return { success: true, message: 'Nobody was signed in.' }
  const message = revoked
    ? 'Signed out.'
    : 'Signed out here. Yoto could not be told: remove the app in your Yoto account to be sure.'
  return { success: true, message }
})
