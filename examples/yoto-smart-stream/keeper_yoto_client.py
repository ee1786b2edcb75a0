"""Lets yoto-smart-stream take its tokens from the keeper. Its code and its routes stay as they are, but for one line.

1. Copy this file and examples/python/keeper.py into yoto_smart_stream/core/.
2. In yoto_smart_stream/core/__init__.py, import YotoClient from the copy:

       from .keeper_yoto_client import YotoClient

3. Keep yoto_api at 2.x, which has the YotoManager that the app uses: pip install 'yoto_api>=2.1,<3'.
4. Delete the app's .yoto_refresh_token: it is not read any more, and a second user of one token signs both out.
5. Start the app with KEEPER_URL and KEEPER_KEY. A tool's key is enough when you sign in on the keeper's page. The app's own buttons
   (its /api/auth/start, /poll and /logout) need the owner's key; Logout signs out at the keeper, for every program.

The app asks for a token when it starts: if nobody is signed in then, sign in and start it again, or use its button. After its button it
logs "No refresh token available": so it should be.
"""

from datetime import datetime, timedelta, timezone

from yoto_api import Token

from . import keeper
from .yoto_client import YotoClient as YotoClientWithFile

TWO_HOURS = 7200  # yoto_api asks for another token an hour before the end of one


class YotoClient(YotoClientWithFile):
    def initialize(self):
        super().initialize()
        # All that yoto_api wants of an authorization server it asks through these three.
        api = self.manager.api
        api.refresh_token, api.get_authorization, api.poll_for_token = fetch_token, start_sign_in, finish_sign_in

    def authenticate(self):
        self.initialize()
        if self.manager.token is None:  # one that is there may outlast a keeper that is away
            self.manager.set_refresh_token(None)
        self.manager.check_and_refresh_token()
        self.set_authenticated(True)

    def _save_refresh_token(self):
        """The keeper has one, and saves it."""

    def reset(self):
        """Called by the logout route alone."""
        keeper.call("/api/auth/logout", "POST")
        super().reset()


def fetch_token(_previous=None):
    answer = keeper.token(min_ttl=TWO_HOURS)
    return Token(
        access_token=answer["access_token"],
        token_type=answer["token_type"],
        scope=answer.get("scope"),
        valid_until=datetime.now(timezone.utc) + timedelta(seconds=answer["expires_in"]),
    )


def start_sign_in():
    return keeper.call("/api/auth/start", "POST")


def finish_sign_in(started):
    """Looks once, where yoto_api would wait. The poll route finds "authorization_pending" and "expired_token" in the error's text; any
    other error it calls pending for ever, so whatever has ended counts as expired."""
    poll = keeper.call("/api/auth/poll", "POST", {"device_code": started["device_code"]})
    if poll["status"] == "success":
        return fetch_token()
    name = "authorization_pending" if poll["status"] == "pending" else "expired_token"
    raise keeper.KeeperError(f"{name}: {poll['message']}")
