"""A study in a file of the user's own: ``study=reviews.yaml``, or ``study=folder/reviews.yaml``.

Its path is relative to the folder in which the command is started, and what it says is what a preset under ``conf/study``
says. A choice that ends in ``.yaml`` is a file; one that does not is a preset.
"""

from __future__ import annotations

from pathlib import Path

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource

GROUP, ENDING = "study/", ".yaml"


class StudyFiles(ConfigSource):
    """The files below a folder as choices of the group ``study``."""

    @staticmethod
    def scheme() -> str:
        return "studyfile"

    def load_config(self, config_path: str) -> ConfigResult:
        from selfpretrain.door import load_study_file

        config = load_study_file(self._find(config_path))
        return ConfigResult(self.provider, self.full_path(), config, {"package": "_global_"})

    def _find(self, config_path: str) -> Path:
        return Path(self.path, Path(config_path.removeprefix(GROUP)).expanduser())

    def is_config(self, config_path: str) -> bool:
        return config_path.startswith(GROUP) and config_path.endswith(ENDING) and self._find(config_path).is_file()

    def is_group(self, config_path: str) -> bool:
        return False

    def available(self) -> bool:
        return True

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return []  # only what is named is looked for
