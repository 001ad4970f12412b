"""Where and on what a compiled pipeline runs: section `cluster` of a config. Ignored by `--runner local`."""

from __future__ import annotations

from pydantic import Field, field_validator

from trainer.config import Strict
from trainer.errors import UserError

DEFAULT = "default"  # the key of `resources` that holds for every component


class Resources(Strict):
    """What one component's container asks for, under `default` or the component's name; the latter goes first."""

    cpu: float | None = Field(None, gt=0, description="cores; null: the platform's default")
    memory: float | None = Field(None, gt=0, description="GB; null: the platform's default")
    gpu: int = Field(0, ge=0, description="how many")
    gpu_type: str | None = Field(
        None, description="Vertex' name, e.g. NVIDIA_TESLA_T4; in the .kfp.yaml it becomes nvidia.com/gpu"
    )
    node_labels: dict[str, str] = Field(
        {}, description="Kubernetes: labels of the nodes it may run on, e.g. those with that GPU"
    )
    spot: bool = Field(
        False,
        description="Kubernetes: on nodes that may be taken away; a stage that loses its node continues elsewhere",
    )


class ClusterConfig(Strict):
    """What `transferseg run --runner kubeflow` compiles for; see [cluster.md](cluster.md)."""

    image: str = Field(min_length=1, description="container image of every step, see docker/")
    root: str = Field(description="gs://bucket/folder, or a folder mounted in every step: checkpoints, pushed models")
    volumes: dict[str, str] = Field({}, description="Kubernetes: claim -> folder it is mounted at in every step")
    spot_label: str = Field(
        "cloud.google.com/gke-spot=true",
        pattern=r"^[^=]+=[^=]+$",
        description="Kubernetes: key=value of spot nodes' label and taint",
    )
    reread: bool = Field(
        False,
        description="read the dataset anew in every run of the compiled pipeline: for schedules over growing data",
    )
    resources: dict[str, Resources] = Field(
        {}, description="by component, as in the report's graph; `default` is for all"
    )

    @field_validator("root")
    @classmethod
    def _reachable(cls, value: str) -> str:
        if not value.startswith(("gs://", "/")):
            raise ValueError(
                "give gs://bucket/folder or the absolute path of a mounted folder; TensorFlow writes no checkpoints or "
                "models to other stores (artifacts may still lie in s3, see docs/cluster.md)"
            )
        return value.rstrip("/")

    @property
    def on_bucket(self) -> bool:
        return self.root.startswith("gs://")

    def of(self, component: str) -> Resources:
        """The component's own values over the default's.

        Raises:
          UserError: GPUs of no type.
        """
        default, own = self.resources.get(DEFAULT, Resources()), self.resources.get(component, Resources())
        resources = default.model_copy(update=own.model_dump(exclude_unset=True))
        if resources.gpu and not resources.gpu_type:
            raise UserError(f"cluster.resources.{component}: gpu without gpu_type; give e.g. NVIDIA_TESLA_T4")
        return resources
