"""What a model must keep to be served."""

from __future__ import annotations

from pydantic import Field

from trainer.config import Strict


class ServingCheckConfig(Strict):
    """Limits of the serving check, all our choice: set them to what your service promises where it is checked."""

    max_latency_ms: float = Field(5000, gt=0, description="median time of a call with one image")
    max_memory_mb: float = Field(8000, gt=0, description="peak resident memory of the serving process")
    max_load_s: float = Field(120, gt=0, description="until the model is loaded and warmed up")
    min_agreement: float = Field(0.99, ge=0, le=1, description="share of pixels as in the trainer's own predictions")
    images: int = Field(16, ge=1, description="eval images to send")
    timed_calls: int = Field(20, ge=1, description="calls behind the median")
    timeout_s: float = Field(900, gt=0, description="for the whole check; then the process is killed")
    docker_tag: str | None = Field(
        None, description="also run TFX's InfraValidator with tensorflow/serving:<tag>; needs a docker engine"
    )
