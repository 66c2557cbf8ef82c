"""Whether an RPC tracker lends the devices that a tuning run is to measure on."""

from __future__ import annotations

import socket

from ..errors import UnsupportedError

CONNECT_SECONDS = 5.0


def require_tracker(address: str, port: int, key: str) -> None:
    """One line now instead of a failed candidate after another.

    Raises
    ------
    UnsupportedError
        If the tracker does not answer or lends no device under the key.
    """
    from tvm import rpc

    try:
        socket.create_connection((address, port), timeout=CONNECT_SECONDS).close()  # TVM's own goes on trying
        servers = rpc.connect_tracker(address, port).summary()["server_info"]
    except (OSError, RuntimeError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise UnsupportedError(
            f"no RPC tracker answers at {address}:{port} ({reason}); start one: python -m tvm.exec.rpc_tracker"
        ) from error
    lent = sorted({str(server["key"]).split(":", 1)[-1] for server in servers})
    if key not in lent:
        raise UnsupportedError(
            f"the tracker at {address}:{port} lends no device with key {key!r} (it has: {', '.join(lent) or 'none'}); "
            f"on the device: python -m tvm.exec.rpc_server --tracker {address}:{port} --key {key}"
        )
