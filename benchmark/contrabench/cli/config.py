"""The optional configuration file: where data and results are on this machine."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from pydantic import Field, ValidationError

from contrabench.cli.common import DEFAULT_STORE
from contrabench.errors import RequestError
from contrabench.protocol import Frozen


class Config(Frozen):
    """Content of `contrabench.toml`, under what the command line says."""

    store: Path = Field(DEFAULT_STORE, description="folder of results")
    data: dict[str, Path] = Field({}, description="folder of each dataset, by its name")

    def folder_of(self, dataset: str, given: Path | None) -> Path | None:
        """The folder of a dataset's files: the one given, else the configured one, if any."""
        return given or self.data.get(dataset)


def load_config(path: Path | None = None, store: Path | None = None) -> Config:
    """Reads the file named, or by CONTRABENCH_CONFIG, or `contrabench.toml` in this folder.

    Relative paths in it are taken from the file's own folder. Without a file the configuration is
    the default. A `store` of the command line wins. RequestError if a file that was named is not
    there, or any is not understood.
    """
    named = path or os.environ.get("CONTRABENCH_CONFIG")
    file = Path(named or "contrabench.toml")
    if not file.is_file():
        if named:
            raise RequestError(f"there is no configuration file at {named}")
        return Config(store=store or DEFAULT_STORE)
    try:
        config = Config.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"{file} is no valid TOML: {error}") from error
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise RequestError(
            f"{file}: '{where}' is not understood; it may hold 'store' and a table [data] with "
            "one folder per dataset"
        ) from error
    base = file.resolve().parent
    if store is None:
        configured = "store" in config.model_fields_set
        store = base / config.store.expanduser() if configured else DEFAULT_STORE
    return Config(
        store=store,
        data={name: base / folder.expanduser() for name, folder in config.data.items()},
    )
