"""Commands about served models."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.common import PATH, cli, loading
from trainer.errors import UserError

PORT = click.IntRange(0, 65535)
_SECONDS = click.FloatRange(0, 86_400, min_open=True)


@cli.command()
@click.option("--model", type=PATH, required=True, help="a SavedModel, or a folder of numbered versions")
@click.option("--name", default="transferseg", show_default=True, help="the name clients ask for")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="0.0.0.0 opens it to the network, without access control"
)
@click.option("--grpc-port", type=PORT, default=8500, show_default=True)
@click.option("--rest-port", type=PORT, default=8501, show_default=True)
@click.option(
    "--label-studio",
    type=PORT,
    is_flag=False,
    flag_value=9090,
    metavar="[PORT]",
    help="also answer as Label Studio's ML backend, on port 9090 if none is given (docs/label-studio.md)",
)
@click.option("--timeout", type=_SECONDS, default=60, show_default=True, help="seconds that a call may take")
@click.option(
    "--max-request-mb",
    type=click.IntRange(1, 2047),  # gRPC holds no more
    default=64,
    show_default=True,
    help="largest request; over REST a picture takes a third more than its file",
)
def serve(
    model: Path,
    name: str,
    host: str,
    grpc_port: int,
    rest_port: int,
    label_studio: int | None,
    timeout: float,
    max_request_mb: int,
) -> None:
    """Serves a model locally with TF Serving's gRPC and REST interfaces, until Ctrl-C.

    For laptops and tests, where tensorflow_model_server is not at hand; in production run TF Serving on the same
    folder (serving/deploy). New versions in the folder are taken up while it runs.

    Example: transferseg serve --model build/demo/serving/demo
    """
    import logging
    import os
    import signal
    import sys
    import threading

    if not name or {"/", ":"} & set(name):
        raise UserError(f"--name '{name}': no address of REST can hold it; give a name without / and :")
    with loading():
        from serving.local_server.http import host_port
        from serving.local_server.server import serve as start

    for ours in ("components", "serving"):  # what a person in front of the server wants to see
        logging.getLogger(ours).setLevel(logging.WARNING)
    backend = None
    if label_studio is not None:
        from components.label_studio.server import start as start_backend

        backend = start_backend(model, host, label_studio)
    limits = {"max_body_bytes": max_request_mb * 2**20, "timeout_seconds": timeout}
    server = start(model, name, host=host, grpc_port=grpc_port, rest_port=rest_port, **limits)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    rest = f"http://{host_port(host, server.rest_port)}/v1/models/{name}"
    click.echo(f"serving {name}: gRPC {host_port(host, server.grpc_port)}, REST {rest}")
    if backend:
        click.echo(f"Label Studio's ML backend: http://{host_port(host, backend.port)}")
    ended.wait()
    click.echo("stopping", err=True)
    stopping = [threading.Thread(target=one.stop) for one in (server, backend) if one]
    for one in stopping:
        one.start()
    for one in stopping:
        one.join()
    sys.stdout.flush()
    os._exit(0)  # Python would wait for calls, and TensorFlow for the load of a version, that outlast the grace


@cli.command()
@click.option("--server", required=True, metavar="HOST:PORT", help="gRPC port, or REST port with --transport rest")
@click.argument("image", type=PATH)
@click.option("--output", type=PATH, required=True, help="PNG to write")
@click.option("--name", default="transferseg", show_default=True, help="the model's name on the server")
@click.option("--label", metavar="LABEL", help="of a version, such as stable  [default: the newest version]")
@click.option("--transport", type=click.Choice(["grpc", "rest"]), default="grpc", show_default=True)
@click.option("--overlay", is_flag=True, help="write the mask over the image instead of the mask alone")
@click.option(
    "--timeout", type=_SECONDS, default=30, show_default=True, help="seconds to wait; the server has a limit too"
)
def query(
    server: str,
    image: Path,
    output: Path,
    name: str,
    label: str | None,
    transport: str,
    overlay: bool,
    timeout: float,
) -> None:
    """Asks a server for the mask of one image and writes it as PNG.

    The image may have any format that predict takes.

    Example: transferseg query --server localhost:8500 photo.jpg --output mask.png
    """
    from serving.client import SegmentationClient
    from serving.overlay import overlay_png
    from trainer.data.pictures import MOST_PIXELS, readable
    from trainer.errors import ImageFault

    if output.exists() and image.exists() and output.samefile(image):
        raise UserError(f"--output {output}: is the image itself; give another file")
    try:
        data = readable(image.read_bytes(), MOST_PIXELS)
    except OSError as error:
        raise UserError(f"{image}: {error.strerror}") from None
    except ImageFault as fault:
        raise UserError(f"{image}: {fault}") from None
    with SegmentationClient(server, name, transport, timeout, version=label) as client:
        [mask] = client.predict([data])
    output.write_bytes(overlay_png(data, mask) if overlay else mask)
    click.echo(f"{output}")
