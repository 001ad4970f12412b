"""The command that writes a model in other formats."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pipeline.cli.common import EXIT_REFUSED, JSON, PATH, cli, loading, model_folder, say, write_json

_MOST_PICTURES = 64  # our choice: more calibrate no better


@cli.command()
@click.option("--model", type=PATH, required=True, help="a SavedModel, or a folder of numbered versions")
@click.option("--format", "format_", type=click.Choice(["tflite", "onnx"]), required=True)
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16", "int8"]),
    help="default: float16 for TFLite, float32 for ONNX; int8 is calibrated on the pictures",
)
@click.option("--output", type=PATH, required=True, help="file to write; one with .json beside it says how to use it")
@click.option("--images", type=PATH, help="folder of pictures to calibrate and compare on; default: the model's own 8")
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    default=0.98,
    show_default=True,
    help="share of pixels as the SavedModel says; below it nothing is written and the status is 1",
)
@JSON
def export(
    model: Path,
    format_: str,
    precision: str | None,
    output: Path,
    images: Path | None,
    min_agreement: float,
    json_path: Path | None,
) -> None:
    """Writes a segmentation model's network as TFLite or ONNX, if its masks stay what they are.

    Example: transferseg export --model build/demo/serving/demo --format tflite --output demo.tflite
    """
    with loading():
        from serving.convert import check_free, convert, write

    check_free(output)
    pictures = _pictures(images, model) if images else []
    converted = convert(model, format_, precision or ("float32" if format_ == "onnx" else "float16"), pictures)
    refused = converted.agreement < min_agreement
    if not refused:
        write(converted, output)
    write_json(
        json_path,
        {
            "output": None if refused else str(output),
            "bytes": len(converted.data),
            "agreement": converted.agreement,
            "pictures": converted.pictures,
        },
    )
    say(
        f"{100 * converted.agreement:.2f} % of the pixels of {converted.pictures} pictures as the SavedModel says, "
        f"{len(converted.data) / 1e6:.2f} MB"
    )
    if refused:
        click.echo(
            f"transferseg: not written: the agreement is below {100 * min_agreement:g} % (--min-agreement); "
            + (
                f"the model averages {converted.views} views of a picture, and the file holds one: lower the limit"
                if converted.views > 1
                else "try another --precision, or more --images"
            ),
            err=True,
        )
        sys.exit(EXIT_REFUSED)
    say(output)


def _pictures(folder: Path, model: Path) -> list[bytes]:
    """The folder's first pictures, as the model takes them."""
    from itertools import islice

    from components.beam_masks.images import list_images
    from components.beam_masks.networks import look_and_limit
    from serving.model import encoded

    _, limit = look_and_limit(str(model_folder(model)))
    return [encoded(path, limit) for path in islice(list_images(folder)[0], _MOST_PICTURES)]
