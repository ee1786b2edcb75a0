import { eventHandler } from 'h3'
import { useService } from '../../../server/service'

export default eventHandler(async () => {
  const { wasSignedIn, revoked } = await (await useService()).keeper.signOut()
  if (!wasSignedIn) return { success: true, message: 'Nobody was signed in.' }
  const message = revoked
    ? 'Signed out.'
    : 'Signed out here. Yoto could not be told: remove the app in your Yoto account to be sure.'
  return { success: true, message }
})
