"""What a person asked `transferseg init` for; and the same as a command, changed where it must be."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trainer.errors import UserError
from trainer.models.weight_files import FILES, backbone_of

DATA, CONFIG = Path("data"), Path("transferseg.yaml")


@dataclass(frozen=True)
class Asked:
    """The command's arguments.

    Attributes:
      folder: the dataset, of any known kind.
      output: where it is brought to if it is not in our layout; an existing dataset there is extended.
      config: file to write.
      weak: categories to learn from tags although they have masks.
      names: categories by id, where the files do not say.
      weights: of the network: "imagenet", a file or None (random).
      val: a list of the pictures to evaluate on; None: `val.txt` in the folder, else a share is held out.
      force: replace `config` if it is there.
    """

    folder: Path
    output: Path = DATA
    config: Path = CONFIG
    weak: Sequence[str] = ()
    names: Sequence[str] | None = None
    weights: str | None = "imagenet"
    val: Path | None = None
    force: bool = False

    @property
    def has_weights_file(self) -> bool:
        return self.weights not in (None, "imagenet")

    def command(self, **changes: object) -> str:
        """The command line that asks for this with those changes."""
        asked = replace(self, **changes)
        options = {
            "--output": asked.output if asked.output != DATA else None,
            "--config": asked.config if asked.config != CONFIG else None,
            "--weak": ",".join(asked.weak) or None,
            "--categories": ",".join(asked.names or ()) or None,
            "--weights": None if asked.weights == "imagenet" else asked.weights or "null",
            "--val": asked.val,
        }
        words = ["transferseg", "init", str(asked.folder)]
        words += [word for name, value in options.items() if value is not None for word in (name, str(value))]
        return shlex.join([*words, *(["--force"] if asked.force else [])])

    def check(self) -> None:
        """What can be said before anything is imported or read.

        Raises:
          UserError: the folder, the list or the weights are not there, no network here has such weights, or the config
            is there and not to be replaced.
        """
        if self.config.exists() and not self.force:
            raise UserError(
                f"{self.config}: is there already; replace it with --force ({self.command(force=True)}), or give "
                "another name with --config"
            )
        if not self.config.absolute().parent.is_dir():
            raise UserError(f"--config {self.config}: no folder {self.config.parent}; make it first")
        if not self.folder.is_dir():
            raise UserError(f"{self.folder}: no such folder")
        if self.val and not self.val.is_file():
            raise UserError(f"--val {self.val}: no such file; give a list of picture names, one a line")
        if self.has_weights_file and backbone_of(self.weights) is None:
            raise UserError(f"--weights {self.weights}: holds the layers of none of {', '.join(FILES)}")
