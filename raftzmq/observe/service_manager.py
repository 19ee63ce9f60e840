"""Tells systemd about the state of the service (sd_notify(3)); does nothing elsewhere."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send ``state``, for instance ``READY=1``, to the service manager, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.sendto(state.encode(), address)
        except OSError:
            return  # a manager that does not listen must not stop the database
