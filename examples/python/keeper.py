"""Asks the keeper for a token, or lets it carry a call to Yoto. Standard library only, Python 3.9 or newer.

Put this file beside your program. It reads KEEPER_URL and KEEPER_KEY (a tool's key is enough) from the environment:

    import keeper
    players = keeper.yoto("/device-v2/devices/mine")["devices"]
    access_token = keeper.token(min_ttl=600)["access_token"]
"""

import http.client
import json
import os
import time
import urllib.error
import urllib.request

TRIES = 4
PATIENCE = 60  # seconds; where the keeper asks for a longer wait, that is the caller's to decide


class KeeperError(Exception):
    """What went wrong, in the keeper's words. `status` is None where there was no answer; `code` is the keeper's, where it is its own."""

    def __init__(self, message, status=None, code=None, retry_after=None):
        super().__init__(message)
        self.status, self.code, self.retry_after = status, code, retry_after


def token(min_ttl=0):
    """{"access_token": …, "expires_in": …, …}. Ask for it when you need it: the keeper answers from memory."""
    return call(f"/api/token?min_ttl={min_ttl}")


def yoto(path, method="GET", body=None):
    """A call to Yoto's API, which the keeper gives a token on the way."""
    return call("/api/yoto" + path, method, body)


def call(path, method="GET", body=None):
    """The answer's JSON.

    What may pass is tried again: no answer, 429, 502, 503 and 504, after Retry-After where that is given. Only for GET: after any other
    method the call may have been carried out. 401 (a wrong key) and 409 (nobody is signed in) need a person, and are raised at once.
    """
    for attempt in range(TRIES):
        try:
            return _once(path, method, body)
        except KeeperError as error:
            may_pass = error.status in (None, 429, 502, 503, 504) and method == "GET"
            wait = error.retry_after or 0.5 * 2**attempt
            if not may_pass or attempt == TRIES - 1 or wait > PATIENCE:
                raise
        time.sleep(wait)


def _once(path, method, body):
    url, key = _setting("KEEPER_URL").rstrip("/"), _setting("KEEPER_KEY")
    request = urllib.request.Request(url + path, method=method)
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    # An ordinary header would go wherever a redirect leads, the key to a stranger: urllib copies all of them. Not this kind.
    request.add_unredirected_header("Authorization", "Bearer " + key)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
            return json.loads(text) if text else None
    except urllib.error.HTTPError as answer:
        raise _explain(answer) from None
    except (OSError, http.client.HTTPException) as error:  # refused, reset, timed out, cut off
        raise KeeperError(f"The keeper at {url} does not answer: {getattr(error, 'reason', error)}") from None
    except ValueError:
        raise KeeperError(f"What {url} answered is not JSON. Is that the keeper?", status=200) from None


def _explain(answer):
    """The header keeper-error tells the keeper's own answers from Yoto's, which pass through it."""
    text = answer.read().decode("utf-8", "replace")
    code = answer.headers.get("keeper-error")
    after = answer.headers.get("Retry-After", "")
    message = f"Yoto answered {answer.code}: {text[:300]}"
    if code:
        problem = json.loads(text)
        message = " ".join(filter(None, [problem["message"], problem.get("hint")]))
    return KeeperError(message, answer.code, code, int(after) if after.isdigit() else None)


def _setting(name):
    value = os.environ.get(name, "").strip()
    # Checked here, because http.client shows a header that it refuses, and with it the key.
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise KeeperError(f"Set {name}: printable ASCII without spaces.", status=0)
    return value
