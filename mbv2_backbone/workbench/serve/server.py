"""Start and stop the web server."""

from __future__ import annotations

import os.path as osp
import socket
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from ipaddress import ip_address

from ...common.messages import UserError

_LOCAL = ('127.0.0.1', 'localhost')
_NEEDED = ('starlette', 'uvicorn')
MAX_CONNECTIONS = 64  # more get a 503: each may hold an image that waits


def serve(
    config: str,
    checkpoint: str,
    *,
    host: str = '127.0.0.1',
    port: int = 7860,
    score_thr: float = 0.3,
    cfg_options: Sequence[str] | None = None,
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        config: Path of the config.
        checkpoint: Path of a checkpoint of the whole model, or of an exported file; `best` or
            `last` in the config's work directory.
        host: Address to listen on; the default is reachable from this machine only.
        port: 0 picks a free one.
        score_thr: Initial value of the threshold on the page.
        cfg_options: `key=value` overrides of the config.

    Raises:
        UserError: If the config or the checkpoint is not valid, the address is in use,
            or the packages of the page are missing.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise UserError(f'--serve needs {" and ".join(missing)}: pip install {" ".join(missing)}')
    listener = _listen(host, port)  # before the model is loaded, to report a used port at once
    with listener:
        from ...weights.whole_model import find_checkpoint
        from ..configs.read import load_config
        from ..predict.file_predictor import FilePredictor
        from .app import build_app

        cfg = load_config(config, cfg_options)
        checkpoint = find_checkpoint(checkpoint, cfg.work_dir)
        predictor = FilePredictor(cfg, checkpoint, score_thr=0.0)
        name = f'{osp.basename(config)} with {osp.basename(checkpoint)}'
        address, port = listener.getsockname()
        hosts = allowed_hosts(host, address)
        app = build_app(predictor, name=name, score_thr=score_thr, hosts=hosts)
        _run(app, listener, f'http://{host}:{port}')


def allowed_hosts(host: str, address: str) -> list[str]:
    """Return the host names that requests to the server may use.

    Another site's page may point its own host name at this machine and send requests. If the
    server is reachable from this machine only, the names it has there are enough.

    Args:
        host: Host name or address to listen on.
        address: The IP address of that host.
    """
    return [*_LOCAL, host, address] if ip_address(address).is_loopback else ['*']


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise UserError(
            f'cannot listen on {host}, port {port}: {error}; choose another with --port'
        ) from error


def _run(app: object, listener: socket.socket, address: str) -> None:
    import uvicorn

    options = uvicorn.Config(
        app,
        log_level='warning',
        lifespan='off',
        ws='none',
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=5,
    )
    print(f'Serving on {address} until Ctrl-C', flush=True)
    # uvicorn shuts down and raises it again, unless the shell has SIGINT ignored (`… &`).
    with suppress(KeyboardInterrupt):
        uvicorn.Server(options).run(sockets=[listener])
    print('Stopped')
