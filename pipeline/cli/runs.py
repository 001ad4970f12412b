"""Commands about datasets and whole runs."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from pipeline.cli.common import (
    EXIT_BAD_INPUT,
    JSON,
    PATH,
    cli,
    console,
    finish,
    loading,
    model_folder,
    names_of,
    say,
    write_json,
)


@cli.command()
@click.option("--workdir", type=PATH, default=Path("build/demo"), show_default=True, help="where everything is written")
@JSON
def demo(workdir: Path, json_path: Path | None) -> None:
    """Draws a small dataset, runs the whole pipeline on it, pushes the model.

    Example: transferseg demo --workdir build/demo
    """
    with loading():
        from pipeline.demo.demo_run import run_demo

    finish(run_demo(workdir, console()), json_path)


@cli.command()
@click.argument("folder", type=PATH)
@click.option("--output", type=PATH, default=Path("data"), show_default=True, help="where other layouts are brought to")
@click.option("--config", type=PATH, default=Path("transferseg.yaml"), show_default=True, help="file to write")
@click.option("--weak", default="", metavar="A,B", help="categories to learn from tags although they have masks")
@click.option("--categories", default="", metavar="A,B", help="names by id, where the files do not say; or a file")
@click.option("--val", type=PATH, help="list of the pictures to judge by [default: FOLDER/val.txt, else every tenth]")
@click.option("--weights", default="imagenet", show_default=True, help="what networks begin with: a .h5 file, or null")
@click.option("--force", is_flag=True, help="replace the config if it is there")
def init(
    folder: Path, output: Path, config: Path, weak: str, categories: str, val: Path | None, weights: str, force: bool
) -> None:
    """Looks at a folder, recognises the dataset in it and writes a config that runs.

    What is only tagged is learned from tags, what has masks from masks. Pictures to judge by are held out if no list
    says which: masks of the former first, then a tenth of each of the latter.

    Example: transferseg init photos
    """
    from pipeline.init.asked import Asked

    names = names_of(categories)
    chosen = None if weights == "null" else weights
    asked = Asked(folder, output, config, names_of(weak, "--weak") or (), names, chosen, val, force)
    asked.check()  # before the slow import of what reads datasets
    with loading():
        from pipeline.init.command import init as run_init

    run_init(asked, console())


@cli.command()
@click.argument("config", type=PATH)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="change a config value")
@JSON
@click.option("--html", "html_path", type=PATH, help="also write a page with thumbnails here")
def validate(config: Path, overrides: tuple[str, ...], json_path: Path | None, html_path: Path | None) -> None:
    """Names every problem of a dataset before any training: exit 0 without errors, else 2.

    Example: transferseg validate configs/voc.yaml --set dataset.root=/data/VOC2012
    """
    from pipeline.config.run_config import load_config

    loaded = load_config(config, list(overrides))  # a wrong config is refused before the slow import of Beam
    with loading():
        from pipeline.validate import validate as run_validate

    problems = run_validate(loaded, html_path, console())
    write_json(json_path, [asdict(problem) for problem in problems])
    if any(problem.severity == "error" for problem in problems):
        sys.exit(EXIT_BAD_INPUT)


@cli.command()
@click.argument("config", type=PATH)
@click.option("--workdir", type=PATH, help="where everything is written [default: build/<name of the config>]")
@click.option("--runner", type=click.Choice(["local", "kubeflow"]), default="local", show_default=True)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="change a config value, e.g. network.backbone=tiny"
)
@click.option("--accept", metavar="REASON", help="push the model whatever its scores, and record why")
@JSON
def run(
    config: Path,
    workdir: Path | None,
    runner: str,
    overrides: tuple[str, ...],
    accept: str | None,
    json_path: Path | None,
) -> None:
    """Runs the pipeline of a config file: exit 0 pushed, 1 refused by the gate, 2 bad input.

    A run that was stopped or killed continues where it was. With --runner kubeflow nothing is run: the pipeline is
    compiled for Vertex AI and Kubeflow Pipelines into the work folder.

    Example: transferseg run configs/voc.yaml --set dataset.root=/data/VOC2012 --workdir runs/one
    """
    from pipeline.config.run_config import check_inputs, load_config
    from pipeline.weights import fetch

    reason = [f"gate.accept={json.dumps(accept)}"] if accept is not None else []
    loaded = load_config(config, [*overrides, *reason])
    workdir = workdir or Path("build") / loaded.name
    if runner == "kubeflow":
        with loading():
            from pipeline.runners.kubeflow import compile_pipeline

        compiled = compile_pipeline(loaded, workdir)
        write_json(json_path, asdict(compiled))
        for line in [*compiled.files, *compiled.notes]:
            console().print(line, highlight=False, soft_wrap=True)
        return
    if not workdir.exists():  # in one that is there `run_local` leaves word of what is wrong
        check_inputs(loaded)
        fetch(loaded.network.backbone, loaded.network.weights)
    with loading():
        from pipeline.run.local_run import run_local  # takes seconds to import: not for a config that is wrong

    finish(run_local(loaded, workdir, console()), json_path)


@cli.command()
@click.argument("stage", type=click.Choice(["cam", "l_net", "segmentation", "p_net"]))
@click.argument("config", type=PATH)
@click.option("--examples", type=PATH, required=True, help="artifact of examples, for segmentation and p_net of labels")
@click.option("--output", type=PATH, required=True, help="folder for model, history and checkpoints")
@click.option("--base-model", type=PATH, help="network to refine (p_net) or to begin with (segmentation)")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="change a config value")
def train(
    stage: str, config: Path, examples: Path, output: Path, base_model: Path | None, overrides: tuple[str, ...]
) -> None:
    """Trains one stage outside of a pipeline run, here or on each of several hosts (TF_CONFIG).

    Example: transferseg train l_net mine.yaml --examples runs/one/artifacts/examples/examples/1 --output l_net
    """
    from pipeline.config.run_config import load_config

    loaded = load_config(config, list(overrides))
    with loading():
        from pipeline.train import train_stage

    say(train_stage(loaded, stage, examples, output, base_model))


@cli.command()
@click.argument("config", type=PATH)
@click.option("--methods", default="full,strong-only,wssl,ae,l-net,p-net,p-net-direct", show_default=True)
@click.option("--splits", default="1,2,3", show_default=True, help="numbers of VOC's splits, or own: the config's")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="how many, from network.seed on")
@click.option("--workdir", type=PATH, help="networks and labels [default: build/experiment-<name of the config>]")
@click.option("--out", type=PATH, help="where the tables go [default: results in the workdir]")
@click.option("--figures", type=PATH, help="also draw the paper's Figures 3 and 6 into this folder")
@click.option("--unseen", type=PATH, help="folder of images of other categories, for Figure 5")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="change a config value")
def experiment(
    config: Path,
    methods: str,
    splits: str,
    seeds: int,
    workdir: Path | None,
    out: Path | None,
    figures: Path | None,
    unseen: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Compares the method with its rivals, as the paper's Table 2 does; what is there already is not made again.

    Images are read as `run` reads them; the method full needs a mask of every training image.

    Example: transferseg experiment configs/table2-small.yaml --methods full,l-net --splits 1
    """
    from pipeline.config.run_config import check_inputs, load_config

    loaded = load_config(config, list(overrides))
    check_inputs(loaded)
    with loading():
        from pipeline.experiment.rows import run_experiment
    from pipeline.weights import fetch

    fetch(loaded.network.backbone, loaded.network.weights)
    names = [f"voc-split-{name}" if name.isdigit() else name for name in splits.split(",")]
    workdir = workdir or Path("build") / f"experiment-{loaded.name}"
    first = loaded.network.seed
    several, tables = range(first, first + seeds), out or workdir / "results"
    run_experiment(loaded, methods.split(","), names, several, workdir, tables, console())
    if figures:
        from components.beam_masks.lock import locked
        from pipeline.experiment.figures import draw_figures
        from pipeline.experiment.rows import resolve
        from pipeline.experiment.steps import ExperimentSteps

        with locked(workdir, "an experiment"):  # they may need networks that no row has trained
            for path in draw_figures(ExperimentSteps(loaded, workdir), resolve(loaded, names), figures, unseen):
                say(path)


@cli.command()
@click.argument("config", type=PATH)
@click.option("--cam", type=PATH, required=True, help="exported CAM classifier (a SavedModel folder)")
@click.option("--l-net", type=PATH, required=True, help="exported L-Net that has not seen all strong categories")
@click.option("--output", type=PATH, required=True, help="folder for labels.yaml and the curves")
@click.option("--max-images", type=click.IntRange(1), default=200, show_default=True, help="strong images to use")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="change a config value")
@JSON
def calibrate(
    config: Path,
    cam: Path,
    l_net: Path,
    output: Path,
    max_images: int,
    overrides: tuple[str, ...],
    json_path: Path | None,
) -> None:
    """Finds the values of weak labelling (section `labels` of a config) on strong images, whose masks are known.

    They are treated as if they were weak, so the L-Net must not have learned their categories. No mask of a weak image
    is looked at. In a pipeline run, `calibrate: true` trains such an L-Net (l_net_rehearsal) and does the same.

    Example: transferseg calibrate configs/voc-small.yaml --cam models/cam --l-net models/l_net_rehearsal --output found
    """
    from pipeline.config.run_config import check_inputs, load_config

    loaded = load_config(config, list(overrides))
    check_inputs(loaded)
    cam, l_net = model_folder(cam), model_folder(l_net)
    with loading():
        from pipeline.calibrate import calibrate_folder

    found = calibrate_folder(loaded, cam, l_net, output, max_images, console())
    write_json(json_path, {**asdict(found), "settings": found.settings.model_dump(mode="json")})
