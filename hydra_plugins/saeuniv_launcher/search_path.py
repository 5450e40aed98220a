"""The site's own folder of configuration."""

import os
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class SitePath(SearchPathPlugin):
    """Adds the folder named by SAEUNIV_CONFIG_DIR, where a site keeps launchers, models and data."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folder after our own, so that it adds options and replaces none."""
        if site := os.environ.get("SAEUNIV_CONFIG_DIR"):
            search_path.append("saeuniv-site", f"file://{Path(site).expanduser().resolve()}")
