"""Label Studio's tasks: which picture one is about, and which of its annotations counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from components.dataset_import.items import PictureFolder
from trainer.data.names import names_picture
from trainer.errors import ImageFault, few, shown


def picture_texts(task: Any, results: Sequence[dict] = ()) -> dict[str, str]:
    """The fields of a task's data that may name its picture, and what they say.

    A result says to which tag it belongs, and the field is often called as the tag. Else texts that end as pictures do
    are taken, or addresses, or any.
    """
    data = task.get("data") if isinstance(task, dict) else None
    texts = {field: text for field, text in data.items() if isinstance(text, str)} if isinstance(data, dict) else {}
    drawn_on, about = _tags_of(filter(is_region, results)), _tags_of(results)
    choices = (
        {field: text for field, text in texts.items() if field in drawn_on},
        {field: text for field, text in texts.items() if names_picture(text)},
        {field: text for field, text in texts.items() if "/" in text},
    )
    likely = next(filter(None, choices), texts)
    return {field: text for field, text in likely.items() if field in about} or likely


def _tags_of(results: Iterable[dict]) -> set[str]:
    """Names of the tags of the labeling interface that results belong to."""
    return {str(result.get("to_name")) for result in results}


def refuse_several_pictures(task: Any, results: Sequence[dict], label: str) -> None:
    """Raises ImageFault if a task shows a list of pictures, or has regions on more than one."""
    data = task.get("data") if isinstance(task, dict) else None
    lists = [field for field, value in data.items() if isinstance(value, list)] if isinstance(data, dict) else []
    texts, tags = picture_texts(task), sorted(_tags_of(filter(is_region, results)))
    what = None
    if any(result.get("item_index") is not None for result in results) or (lists and not texts):
        what = f"shows a list of pictures (valueList: {few(lists)})"
    elif len(tags) > 1 and len(texts) > 1:
        what = f"has regions on several pictures ({few(tags)})"
    if what:
        raise ImageFault("tags", f"{label}: {what}, which is not read; make a task for each picture")


def picture_of(texts: dict[str, str], paths: dict[str, str | None], pictures: PictureFolder, label: str) -> str:
    """Relative path of a task's picture.

    Args:
      texts: from `picture_texts`.
      paths: field -> the picture that its text names, of the fields that count.
    """
    if not texts:
        raise ImageFault("tags", f"{label}: has no data that names a picture")
    if len(found := set(paths.values())) > 1:
        several = few([f"{field}: '{shown(texts[field])}'" for field in paths])
        what = f"its data names several pictures ({several}); name the Image tag as the field that it shows"
        raise ImageFault("read", f"{label}: {what}")
    try:
        return next(filter(None, found), None) or pictures.files.find(texts[next(iter(paths or texts))])
    except ImageFault as fault:
        raise ImageFault("read", f"{label}: {fault} in {pictures.folder}") from None


def annotations_of(task: Any) -> list[dict]:
    """Those that may count, newest first: ground truths, or all that are not cancelled."""
    made = task.get("annotations") if isinstance(task, dict) else None
    done = [a for a in made if isinstance(a, dict) and not a.get("was_cancelled")] if isinstance(made, list) else []
    best = [a for a in done if a.get("ground_truth") is True] or done
    return sorted(best, key=lambda a: str(a.get("updated_at") or a.get("created_at") or ""), reverse=True)


def why_none(task: dict, label: str) -> ImageFault:
    """Why a task has no annotation; "label" says that no person has finished one."""
    if task.get("completions"):
        return ImageFault(
            "tags", f"{label}: has 'completions' of an old Label Studio; import it into a new one and export as JSON"
        )
    if task.get("annotations"):
        return ImageFault("label", f"{label}: its annotations are cancelled")
    if task.get("predictions"):
        what = "has only predictions, which are a model's, not a person's; submit them as annotations and export again"
        return ImageFault("label", f"{label}: {what}")
    return ImageFault("label", f"{label}: nobody has annotated it")


def results_of(annotations: Sequence[dict]) -> list[dict]:
    """Those of the annotation that counts, as far as they have a value."""
    results = annotations[0].get("result") if annotations else None
    results = results if isinstance(results, list) else []
    return list(filter(has_value, results))


def has_value(result: Any) -> bool:
    return isinstance(result, dict) and isinstance(result.get("value"), dict)


def is_region(result: dict) -> bool:
    """Whether a result, which has a value, says where something is in a picture."""
    fields = result["value"].keys()
    return bool({"points", "imageDataURL", "rle"} & fields) or {"x", "y"} <= fields
