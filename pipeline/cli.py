"""The `transferseg` command. Each command imports what it needs when it runs, so that --help answers at once."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pipeline.quiet import hush
from trainer.errors import UserError

_PATH = click.Path(path_type=Path)
EXIT_REFUSED = 1  # the work was done, but the model was not pushed or too many records were bad
EXIT_BAD_INPUT = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="transferseg")
def cli() -> None:
    """Masks for some categories, tags for the rest: train, gate and serve a segmentation model for all of them.

    Example: transferseg demo
    """


def main() -> None:
    """Entry point: a UserError becomes one line and exit status 2, never a traceback."""
    hush()
    try:
        cli()
    except UserError as error:
        click.echo(f"transferseg: {error}", err=True)
        sys.exit(EXIT_BAD_INPUT)


@cli.command()
@click.option(
    "--workdir", type=_PATH, default=Path("build/demo"), show_default=True, help="where everything is written"
)
def demo(workdir: Path) -> None:
    """Draws a small dataset, runs the whole pipeline on it, pushes the model.

    Example: transferseg demo --workdir build/demo
    """
    from pipeline.demo import run_demo

    _finish(run_demo(workdir, _console()))


@cli.command()
@click.argument("config", type=_PATH)
@click.option("--workdir", type=_PATH, help="where everything is written [default: build/<name of the config>]")
@click.option("--runner", type=click.Choice(["local"]), default="local", show_default=True)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="change a config value, e.g. backbone=tiny"
)
def run(config: Path, workdir: Path | None, runner: str, overrides: tuple[str, ...]) -> None:
    """Runs the pipeline of a config file: exit 0 pushed, 1 refused by the gate, 2 bad input.

    A run that was stopped or killed continues where it was.

    Example: transferseg run configs/voc-split-1.yaml --set dataset.root=/data/VOC2012 --workdir runs/one
    """
    from pipeline.config import check_inputs, load_config

    loaded = load_config(config, list(overrides))
    check_inputs(loaded)
    from pipeline.run import run_local  # takes seconds to import: only for a config that is right

    _finish(run_local(loaded, workdir or Path("build") / loaded.name, _console()))


@cli.command()
@click.option("--truth", type=_PATH, required=True, help="folder of true masks (PNG)")
@click.option("--prediction", type=_PATH, required=True, help="folder of predicted masks (PNG)")
@click.option("--categories", required=True, help="a split's name (voc-split-1) or all names by id, comma-separated")
@click.option("--strong", default="", help="comma-separated names of the strong categories")
@click.option("--json", "json_path", type=_PATH, help="also write the scores here")
def evaluate(truth: Path, prediction: Path, categories: str, strong: str, json_path: Path | None) -> None:
    """Scores a folder of predicted masks against a folder of true ones.

    Example: transferseg evaluate --truth SegmentationClass --prediction masks --categories voc-split-1
    """
    from pipeline.evaluate import evaluate_folders

    evaluate_folders(truth, prediction, categories, strong, json_path, _console())


@cli.command()
@click.argument("config", type=_PATH)
@click.option("--cam", type=_PATH, required=True, help="exported CAM classifier (a SavedModel folder)")
@click.option("--l-net", type=_PATH, required=True, help="exported L-Net that has not seen all strong categories")
@click.option("--output", type=_PATH, required=True, help="folder for labels.yaml and the curves")
@click.option("--max-images", type=click.IntRange(1), default=200, show_default=True, help="strong images to use")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="change a config value")
def calibrate(config: Path, cam: Path, l_net: Path, output: Path, max_images: int, overrides: tuple[str, ...]) -> None:
    """Finds the values of weak labelling (section `labels` of a config) on strong images, whose masks are known.

    They are treated as if they were weak, so the L-Net must not have learned their categories. No mask of a weak image
    is looked at. In a pipeline run, `calibrate: true` trains such an L-Net (l_net_rehearsal) and does the same.

    Example: transferseg calibrate configs/voc-small.yaml --cam models/cam --l-net models/l_net_rehearsal --output found
    """
    from pipeline.config import check_inputs, load_config

    loaded = load_config(config, list(overrides))
    check_inputs(loaded)
    from pipeline.calibrate import calibrate_folder

    calibrate_folder(loaded, cam, l_net, output, max_images, _console())


@cli.command()
@click.argument("config", type=_PATH)
@click.option("--methods", default="full,strong-only,wssl,ae,l-net,p-net,p-net-direct", show_default=True)
@click.option("--splits", default="1,2,3", show_default=True, help="numbers of VOC's splits, or own: the config's")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="how many: 0, 1, ...")
@click.option("--workdir", type=_PATH, help="networks and labels [default: build/experiment-<name of the config>]")
@click.option("--out", type=_PATH, default=Path("docs/results"), show_default=True, help="where the tables go")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="change a config value")
def experiment(
    config: Path,
    methods: str,
    splits: str,
    seeds: int,
    workdir: Path | None,
    out: Path,
    overrides: tuple[str, ...],
) -> None:
    """Compares the method with its rivals, as the paper's Table 2 does; what is there already is not made again.

    Example: transferseg experiment configs/table2-small.yaml --methods full,l-net --splits 1
    """
    from pipeline.config import check_inputs, load_config
    from pipeline.experiment.command import run_experiment

    loaded = load_config(config, list(overrides))
    check_inputs(loaded)
    names = [f"voc-split-{name}" if name.isdigit() else name for name in splits.split(",")]
    workdir = workdir or Path("build") / f"experiment-{loaded.name}"
    run_experiment(loaded, methods.split(","), names, range(seeds), workdir, out, _console())


@cli.command()
@click.option("--l-net", type=_PATH, required=True, help="exported L-Net (a SavedModel folder)")
@click.option("--cam", type=_PATH, help="exported CAM classifier; its categories give the ids")
@click.option("--images", type=_PATH, required=True, help="folder of images")
@click.option("--tags", type=_PATH, required=True, help="CSV with the columns image,tags; tags separated by |")
@click.option("--output", type=_PATH, required=True, help="folder for masks, confidences and dead letters")
@click.option("--format", "format_", type=click.Choice(["png", "coco", "tfrecord"]), default="png", show_default=True)
@click.option(
    "--mode",
    type=click.Choice(["cam", "class-agnostic"]),
    default="cam",
    show_default=True,
    help="class-agnostic: one tag an image, of any name, labelled by L-Net alone",
)
@click.option("--settings", type=_PATH, help="labels.yaml of a calibration, or a config; its section `labels` is used")
@click.option("--max-dead-share", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="else exit 1")
@click.argument("beam_args", nargs=-1, type=click.UNPROCESSED)
def label(
    l_net: Path,
    cam: Path | None,
    images: Path,
    tags: Path,
    output: Path,
    format_: str,
    mode: str,
    settings: Path | None,
    max_dead_share: float,
    beam_args: tuple[str, ...],
) -> None:
    """Makes pixel labels for a folder of tagged images. Options behind -- go to Beam.

    What is already labelled is kept: after a kill, the same command goes on where it stopped.

    Example: transferseg label --l-net models/l_net --cam models/cam --images photos --tags tags.csv --output masks
    -- --direct_running_mode=multi_processing --direct_num_workers=2
    """
    from components.label_calibration.outputs import read_label_settings
    from components.weak_labels.batch import label_folder

    chosen = read_label_settings(settings) if settings else None
    _batch(
        lambda: label_folder(
            l_net,
            cam,
            images,
            tags,
            output,
            format=format_,
            mode=mode,
            settings=chosen,
            max_dead_share=max_dead_share,
            beam_args=beam_args,
        )
    )


@cli.command()
@click.option("--model", type=_PATH, required=True, help="exported segmentation model (a SavedModel folder)")
@click.option("--images", type=_PATH, required=True, help="folder of images")
@click.option("--output", type=_PATH, required=True, help="folder for masks and dead letters")
@click.option("--max-dead-share", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="else exit 1")
@click.argument("beam_args", nargs=-1, type=click.UNPROCESSED)
def predict(model: Path, images: Path, output: Path, max_dead_share: float, beam_args: tuple[str, ...]) -> None:
    """Predicts masks for a folder of images. Options behind -- go to Beam.

    Example: transferseg predict --model build/demo/serving/demo/1700000000 --images photos --output masks
    """
    from components.prediction.batch import predict_folder

    _batch(lambda: predict_folder(model, images, output, max_dead_share=max_dead_share, beam_args=beam_args))


@cli.command()
@click.option("--model", type=_PATH, required=True, help="a SavedModel, or a folder of numbered versions")
@click.option("--name", default="transferseg", show_default=True, help="the name clients ask for")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="0.0.0.0 opens it to the network, without access control"
)
@click.option("--grpc-port", default=8500, show_default=True)
@click.option("--rest-port", default=8501, show_default=True)
def serve(model: Path, name: str, host: str, grpc_port: int, rest_port: int) -> None:
    """Serves a model locally with TF Serving's gRPC and REST interfaces, until Ctrl-C.

    For laptops and tests, where tensorflow_model_server is not at hand; in production run TF Serving on the same
    folder (serving/deploy). New versions in the folder are taken up while it runs.

    Example: transferseg serve --model build/demo/serving/demo
    """
    import signal

    from serving.local_server.server import serve as start

    server = start(model, name, host=host, grpc_port=grpc_port, rest_port=rest_port)
    click.echo(
        f"serving {name}: gRPC {host}:{server.grpc_port}, REST http://{host}:{server.rest_port}/v1/models/{name}"
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.wait()
    except KeyboardInterrupt:
        click.echo("stopping", err=True)
        server.stop()


@cli.command()
@click.option("--server", required=True, metavar="HOST:PORT", help="gRPC port, or REST port with --transport rest")
@click.argument("image", type=_PATH)
@click.option("--output", type=_PATH, required=True, help="PNG to write")
@click.option("--name", default="transferseg", show_default=True, help="the model's name on the server")
@click.option("--transport", type=click.Choice(["grpc", "rest"]), default="grpc", show_default=True)
@click.option("--overlay", is_flag=True, help="write the mask over the image instead of the mask alone")
def query(server: str, image: Path, output: Path, name: str, transport: str, overlay: bool) -> None:
    """Asks a server for the mask of one image and writes it as PNG.

    Example: transferseg query --server localhost:8500 photo.jpg --output mask.png
    """
    from serving.client import SegmentationClient
    from serving.overlay import overlay_png

    try:
        data = image.read_bytes()
    except OSError as error:
        raise UserError(f"{image}: {error.strerror}") from None
    with SegmentationClient(server, name, transport) as client:
        [mask] = client.predict([data])
    output.write_bytes(overlay_png(data, mask) if overlay else mask)
    click.echo(f"{output}")


def _batch(work) -> None:
    """Runs a batch job and prints its summary; too many dead letters end with EXIT_REFUSED."""
    from components.batch.faults import TooManyFaults

    try:
        summary = work()
    except TooManyFaults as error:
        click.echo(f"transferseg: {error}", err=True)
        sys.exit(EXIT_REFUSED)
    click.echo(
        f"{summary['labelled']} of {summary['inputs']} images done, {summary['dead']} dead letters, "
        f"{summary['images_per_s']:.1f} images/s: {summary['output']}"
    )


def _console():
    from rich.console import Console

    return Console()


def _finish(summary) -> None:
    sys.exit(0 if summary.pushed_model else EXIT_REFUSED)


if __name__ == "__main__":
    main()
