"""Makes the data cards under ``corpora/`` choices of our commands, and studies in files of the user's own."""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from hydra_plugins.selfpretrain_study.study_files import StudyFiles
from selfpretrain.door import find_folder


class CardSearchPath(SearchPathPlugin):
    """Adds both for our own commands; other Hydra applications in the environment never see it."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        ours = str(find_folder("conf"))
        if any(str(element.path).removeprefix("file://") == ours for element in search_path.get_path()):
            search_path.append(provider="selfpretrain", path=f"file://{find_folder('corpora')}")
            search_path.prepend(provider="selfpretrain", path=f"{StudyFiles.scheme()}://{Path.cwd()}")
