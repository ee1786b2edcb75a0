"""Makes the calls of yoto-smart-stream's auth routes with the client that examples/yoto-smart-stream puts in, one a line of stdin.

    python3 smart_stream.py FOLDER    # where yoto_smart_stream/core holds the copied files

Stand-ins for the app and for yoto_api 2.1 are below: as much as the drop-in touches, written after their behaviour
(yoto_smart_stream/core/yoto_client.py, api/routes/auth.py; yoto_api's YotoManager.py, Token.py).
"""

import json
import sys
import types
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

FOLDER = sys.argv[1]


class Forbidden(BaseException):
    """What must not happen any more; the app would overlook an ordinary exception."""


@dataclass
class Token:
    access_token: str = None
    refresh_token: str = None
    id_token: str = None
    scope: str = None
    valid_until: datetime = datetime.min
    token_type: str = None


class YotoApi:
    def refresh_token(self, token):
        raise Forbidden("asked Yoto for a token")

    get_authorization = poll_for_token = refresh_token

    def update_players(self, token, players):
        players["updated with"] = token.access_token


class YotoManager:
    def __init__(self):
        self.api, self.token, self.players, self.auth_result = YotoApi(), None, {}, None

    def set_refresh_token(self, refresh_token):
        self.token = Token(refresh_token=refresh_token)

    def device_code_flow_start(self):
        self.auth_result = self.api.get_authorization()
        return self.auth_result

    def device_code_flow_complete(self):
        self.token = self.api.poll_for_token(self.auth_result)
        self.api.update_players(self.token, self.players)

    def check_and_refresh_token(self):
        if self.token is None:
            raise ValueError("No token")
        if self.token.access_token is None:
            self.token = self.api.refresh_token(self.token)
        if self.token.valid_until - timedelta(hours=1) <= datetime.now(timezone.utc):
            self.token = self.api.refresh_token(self.token)
        return self.token


class FileYotoClient:
    def __init__(self):
        self.manager, self._authenticated = None, False

    def initialize(self):
        if self.manager is None:
            self.manager = YotoManager()

    def is_authenticated(self):
        return self._authenticated and self.manager is not None

    def set_authenticated(self, authenticated):
        self._authenticated = authenticated

    def authenticate(self):
        raise Forbidden("read the token from the file")

    def _save_refresh_token(self):
        raise Forbidden("wrote the token to the file")

    def ensure_authenticated(self):
        if not self.is_authenticated():
            return self.authenticate()
        try:
            self.manager.check_and_refresh_token()
            self._save_refresh_token()
        except Exception:
            self.authenticate()

    def reset(self):
        self._authenticated, self.manager = False, None


def module(name, **content):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__dict__.update(content)
    return sys.modules[name]


module("yoto_api", Token=Token)
module("yoto_smart_stream").__path__ = [f"{FOLDER}/yoto_smart_stream"]
module("yoto_smart_stream.core").__path__ = [f"{FOLDER}/yoto_smart_stream/core"]
module("yoto_smart_stream.core.yoto_client", YotoClient=FileYotoClient)
from yoto_smart_stream.core.keeper_yoto_client import YotoClient  # noqa: E402

client = YotoClient()


def start():
    client.initialize()
    return client.manager.device_code_flow_start()


def poll():
    client.manager.device_code_flow_complete()
    client.set_authenticated(True)


def ensure():
    client.ensure_authenticated()


def token():
    return {"access_token": client.manager.token.access_token, "players": client.manager.players}


def expire():
    """As if the token had run out in the meantime."""
    client.manager.token.valid_until = datetime.now(timezone.utc)


def logout():
    client.reset()


COMMANDS = {f.__name__: f for f in (start, poll, ensure, token, expire, logout)}
for line in sys.stdin:
    try:
        print(json.dumps({"answer": COMMANDS[line.strip()](), "authenticated": client.is_authenticated()}), flush=True)
    except Exception as error:
        print(json.dumps({"error": str(error), "authenticated": client.is_authenticated()}), flush=True)
