import { eventHandler } from 'h3'
import { defineRouteMeta } from 'nitropack/runtime'
import { useService } from '../../../server/service'

defineRouteMeta({
  openAPI: {
    operationId: 'start',
    tags: ['Sign-in'],
    summary: 'Begin a sign-in by code',
    description: 'Show the person the code and the link, then poll. The polls may stop where status says unattended.',
    responses: {
      200: {
        description: 'What the person needs.',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/DeviceLogin' } } },
      },
      502: { $ref: '#/components/responses/YotoError' },
      503: { $ref: '#/components/responses/Unavailable' },
      504: { $ref: '#/components/responses/YotoTimeout' },
    },
  },
})

/** Begins a sign-in by code (RFC 8628 3.2). `device_code` is a handle of ours; Yoto's stays on the server. */
export default eventHandler(async () => {
  const { handle, login } = await (await useService()).deviceLogins.begin()
  return {
    verification_uri: login.verification_uri,
    verification_uri_complete: login.verification_uri_complete,
    user_code: login.user_code,
    device_code: handle,
    expires_in: Math.round((Date.parse(login.expires_at) - Date.parse(login.began_at)) / 1000),
    interval: login.interval / 1000,
  }
})
