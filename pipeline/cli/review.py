"""`transferseg review`: weak labels out for people to correct, corrected masks back in."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.common import PATH, cli, say, say_what_is_amiss


@cli.group()
def review() -> None:
    """Corrects the worst weak labels by hand.

    Example: transferseg review export --workdir runs/first --output review --count 50
    """


@review.command()
@click.option("--workdir", type=PATH, required=True, help="work folder of a run")
@click.option("--output", type=PATH, required=True, help="folder for images, masks, tasks.json and annotations.json")
@click.option("--count", type=click.IntRange(1), default=50, show_default=True, help="how many, least certain first")
def export(workdir: Path, output: Path, count: int) -> None:
    """Writes the least certain labels for Label Studio (tasks.json, label_config.xml) and COCO editors.

    Example: transferseg review export --workdir runs/first --output review
    """
    from pipeline.review_loop import export_labels

    number = export_labels(workdir, output, count)
    say(
        f"{number} labels: {output}; for Label Studio set LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
        f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={output.resolve()}"
    )


@review.command("import")
@click.option("--annotations", type=PATH, required=True, help="Label Studio's JSON export or COCO's JSON")
@click.option("--images", type=PATH, required=True, help="folder of the exported images")
@click.option("--output", type=PATH, required=True, help="the dataset's folder")
def import_(annotations: Path, images: Path, output: Path) -> None:
    """Takes corrected masks into the dataset; with `dataset.corrected: corrected` their images count as strong.

    Example: transferseg review import --annotations corrected.json --images review/images --output data
    """
    from components.dataset_import.writer import FAULTS
    from components.image_example_gen.voc import CORRECTED
    from pipeline.review_loop import import_labels

    done = import_labels(annotations, images, output)
    say(
        f"{done['images']} corrected, {done['unchanged']} left as they were, {done['dead']} not readable; "
        f"set dataset.corrected: {CORRECTED}"
    )
    say_what_is_amiss(done, output / FAULTS)
