"""Makes the data cards under ``corpora/`` choices of our commands, in ``--help`` and tab completion too."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from selfpretrain.door import find_folder


class CardSearchPath(SearchPathPlugin):
    """Appends ``corpora/`` for our own commands; other Hydra applications in the environment never see it."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        ours = str(find_folder("conf"))
        if any(str(element.path).removeprefix("file://") == ours for element in search_path.get_path()):
            search_path.append(provider="selfpretrain", path=f"file://{find_folder('corpora')}")
