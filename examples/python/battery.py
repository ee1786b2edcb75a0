"""Prints the battery of each of the family's players.

    KEEPER_URL=http://localhost:8080 KEEPER_KEY=… python3 examples/python/battery.py

Yoto's status is what the player has last reported. The app needs the scopes family:devices:view and family:devices:manage.
"""

import sys
from urllib.parse import quote

from keeper import KeeperError, yoto


def main():
    for device in yoto("/device-v2/devices/mine")["devices"]:
        player = yoto(f"/device-v2/{quote(device['deviceId'], safe='')}/config")["device"]
        status = player.get("status") or {}
        level = status.get("batteryLevel")
        notes = ["charging"] if status.get("charging") else []
        if not player.get("online"):
            notes.append(f"offline, as of {status.get('updatedAt', 'some time ago')}")
        print(f"{device['name']}: {'unknown' if level is None else f'{level} %'}", *notes, sep=", ")


try:
    main()
except KeeperError as error:
    sys.exit(str(error))
