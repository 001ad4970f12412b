"""When a label set is refused."""

from pydantic import Field

from trainer.config import Strict


class LabelGateConfig(Strict):
    """Limits of the gate. Shares are 0..1; none of them is in the paper, all are our choice."""

    min_foreground_share: float = Field(0.01, ge=0, le=1, description="of all labelled pixels; below: all background")
    max_foreground_share: float = Field(0.95, ge=0, le=1, description="of all labelled pixels; above: all foreground")
    max_void_share: float = Field(0.6, ge=0, le=1, description="of all pixels")
    max_empty_share: float = Field(0.5, ge=0, le=1, description="of the labelled images that may be background only")
    min_tag_presence: float = Field(0.05, ge=0, le=1, description="of a tag's images that must show some of it")
    min_tag_images: int = Field(
        3, ge=1, description="tags of fewer images may be missed, unless a weak category has no pixel"
    )
