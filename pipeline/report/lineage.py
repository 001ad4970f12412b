"""Where the pushed model comes from, artifact by artifact, down to the weak labels and the images."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.execution.local_runner import ComponentRun

# from the end to the beginning: component, output, what it is
_CHAIN = (
    ("pusher", "pushed_model", "pushed model"),
    ("evaluator", "evaluation", "scores it was judged by"),
    ("serving_check", "blessing", "serving check"),
    ("p_net", "model", "segmentation network refined with P-Net"),
    ("segmentation", "model", "segmentation network"),
    ("weak_labels", "examples", "strong masks and weak labels it learned from"),
    ("calibration", "calibration", "values of weak labelling"),
    ("l_net", "model", "L-Net"),
    ("cam", "model", "CAM classifier"),
    ("examples", "examples", "images, masks and tags"),
)


@dataclass(frozen=True)
class Step:
    """An artifact: what, which component made it, its number in the metadata store, where it lies, state."""

    what: str
    component: str
    artifact: int
    uri: str
    state: str


def lineage(components: list[ComponentRun]) -> list[Step]:
    """The chain's artifacts that there are, the newest first."""
    runs = {component.name: component for component in components}
    steps = []
    for name, key, what in _CHAIN:
        for artifact in runs[name].outputs.get(key, []) if name in runs else []:
            steps.append(Step(what, name, artifact.id, artifact.uri, runs[name].state))
    return steps
