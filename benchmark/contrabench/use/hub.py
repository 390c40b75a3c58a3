"""An exported folder pushed to a model repository of Hugging Face, only if it is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from contrabench.errors import RequestError, RunError
from contrabench.text import one_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class Repository:
    """A repository that a folder may be pushed to: its name is one, and there is a token."""

    name: str
    api: HfApi

    @classmethod
    def opened(cls, name: str) -> Repository:
        """A repository by its name `OWNER/NAME`; nothing is sent yet.

        RequestError if it cannot be one, or huggingface_hub or its token is not there.
        """
        try:
            from huggingface_hub import HfApi, get_token
            from huggingface_hub.errors import HFValidationError
            from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
        except ImportError as error:
            raise RequestError(
                "--push needs huggingface_hub: pip install 'contrabench[hub]'"
            ) from error
        try:
            validate_repo_id(name)
        except HFValidationError as error:
            raise RequestError(f"--push: {' '.join(str(error).split())}") from error
        if not _NAME.fullmatch(name):
            raise RequestError(f"--push takes OWNER/NAME, and '{name}' is none")
        if get_token() is None:
            raise RequestError(
                "--push needs a token of Hugging Face: run `hf auth login`, or set HF_TOKEN"
            )
        return cls(name, HfApi())

    def push(self, folder: Path) -> str:
        """Uploads a folder and gives the address; RunError if that fails, the folder stays.

        A repository that is not there yet becomes a private one: the data that a network was
        trained on may forbid more.
        """
        try:
            url = self.api.create_repo(self.name, private=True, exist_ok=True)
            self.api.upload_folder(
                repo_id=self.name, folder_path=folder, commit_message="Network and card"
            )
        # The client lets errors of several libraries through.
        except Exception as error:
            raise RunError(
                f"{folder} is written, but was not pushed to {self.name}: {one_line(error)}; try "
                f"again with `hf upload {self.name} {folder}`"
            ) from error
        return str(url)
