"""What a Label Studio project's labeling interface asks for: which labels, on which picture."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

from trainer.data.categories import Categories
from trainer.errors import UserError, one_line


@dataclass(frozen=True)
class Interface:
    """The first BrushLabels tag of an interface and the Image tag that it belongs to.

    Attributes:
      from_name, to_name: names of the two tags.
      key: the field of a task's data that holds the picture.
      labels: the values that annotators choose from.
    """

    from_name: str
    to_name: str
    key: str
    labels: tuple[str, ...]

    def names(self, categories: Categories) -> dict[int, str]:
        """Category id -> the label that means it, by name in any case; categories without a label are left out."""
        by_name = {label.casefold(): label for label in self.labels}
        ids = {i: by_name.get(name.casefold()) for i, name in enumerate(categories.names) if i}
        return {i: label for i, label in ids.items() if label}


def read_interface(xml: str) -> Interface:
    """Reads a project's labeling interface (`label_config`, `schema`).

    Raises:
      UserError: no XML, or it has no BrushLabels for an Image.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise UserError(f"the labeling interface is no XML: {one_line(error)}") from None
    images = {tag.get("name"): tag.get("value", "") for tag in root.iter("Image")}
    for brush in root.iter("BrushLabels"):
        value = images.get(brush.get("toName"), "")
        labels = tuple(tag.get("value", "") for tag in brush.iter("Label"))
        if value.startswith("$") and brush.get("name"):
            return Interface(brush.get("name", ""), brush.get("toName", ""), value[1:], labels)
    raise UserError('the labeling interface has no BrushLabels for an Image with value="$..."; add them to the project')
