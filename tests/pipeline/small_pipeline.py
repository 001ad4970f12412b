"""A pipeline with the artifacts of the real one and none of its work: seconds, for tests of what is around it.

`data` and `steps` stand for settings: a change of one runs what depends on it again. A model with `good=0` is refused,
a `warm` one begins as the latest blessed one.
"""

from contextlib import suppress
from pathlib import Path

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.orchestration.pipeline import Pipeline
from tfx.types import Channel, standard_artifacts

from pipeline.config.run_config import MetadataConfig
from pipeline.execution.local_runner import LocalRunner
from pipeline.execution.metadata_store import connect
from pipeline.run.run_log import new_run_id

PAYLOAD = "x" * 1000


def fill(artifact):
    (Path(artifact.uri) / "payload").write_text(PAYLOAD)


@component
def Examples(examples: OutputArtifact[standard_artifacts.Examples], data: Parameter[int]):
    if data < 0:
        raise KeyboardInterrupt
    fill(examples)


@component
def Train(
    examples: InputArtifact[standard_artifacts.Examples],
    model: OutputArtifact[standard_artifacts.Model],
    model_run: OutputArtifact[standard_artifacts.ModelRun],
    steps: Parameter[int],
    base_model: InputArtifact[standard_artifacts.Model] = None,
):
    if steps < 0:
        (Path(model.uri) / "half").write_text(PAYLOAD)
        raise KeyboardInterrupt
    fill(model)
    fill(model_run)


@component
def Evaluate(
    model: InputArtifact[standard_artifacts.Model],
    blessing: OutputArtifact[standard_artifacts.ModelBlessing],
    good: Parameter[int],
):
    fill(blessing)
    blessing.set_int_custom_property("blessed", good)
    blessing.set_int_custom_property("current_model_id", model.id)


@component
def Push(
    model: InputArtifact[standard_artifacts.Model],
    blessing: InputArtifact[standard_artifacts.ModelBlessing],
    pushed_model: OutputArtifact[standard_artifacts.PushedModel],
    serving: Parameter[str],
):
    if not blessing.get_int_custom_property("blessed"):
        return
    version = Path(serving) / Path(pushed_model.uri).name
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_text(PAYLOAD)
    pushed_model.set_string_custom_property("pushed_destination", str(version))


def small_dag(
    workdir: Path, name: str = "small", data: int = 1, steps: int = 1, good: int = 1, warm: bool = False
) -> Pipeline:
    examples = Examples(data=data).with_id("examples")
    blessed = Resolver(
        strategy_class=LatestBlessedModelStrategy,
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    ).with_id("latest_blessed")
    start = {"base_model": blessed.outputs["model"]} if warm else {}
    train = Train(examples=examples.outputs["examples"], steps=steps, **start).with_id("p_net")
    evaluate = Evaluate(model=train.outputs["model"], good=good).with_id("evaluator")
    push = Push(
        model=train.outputs["model"], blessing=evaluate.outputs["blessing"], serving=str(workdir / "serving" / name)
    ).with_id("pusher")
    (workdir / "config.yaml").write_text(f"name: {name}\ndataset: {{root: data}}\ncategories: {{split: voc-split-1}}\n")
    return Pipeline(
        pipeline_name=name,
        pipeline_root=str(workdir / "artifacts"),
        components=[examples, blessed, train, evaluate, push],
        enable_cache=True,
        metadata_connection_config=connect(MetadataConfig(), workdir),
    )


def compared_with(workdir: Path) -> str:
    """The model that the next run takes for the latest blessed one."""
    runner = LocalRunner(new_run_id(), lambda *_: None, lambda _: None)
    with suppress(KeyboardInterrupt):
        runner.run(small_dag(workdir, steps=-1))
    [resolver] = [component for component in runner.components if component.name == "latest_blessed"]
    return resolver.output_uri("model")


def run_small(workdir: Path, **settings) -> dict[str, str]:
    """One run; the state of each component."""
    runner = LocalRunner(new_run_id(), lambda *_: None, lambda _: None)
    runner.run(small_dag(workdir, **settings))
    return {component.name: component.state for component in runner.components if component.name != "latest_blessed"}
