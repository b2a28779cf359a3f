"""Upload a finished export to the Hugging Face hub."""

from __future__ import annotations

import json
import re
from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from ..errors import SlatError

_NAME = re.compile(r"[^/]+/[^/]+")


def check_push(name: str) -> str:
    """Check, before anything is computed, that a repository name is valid, and return the token of this machine.

    Raises:
        SlatError: no name of a repository, or no token on this machine.
    """
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise SlatError(f"--push: {name!r} is no name on the Hugging Face hub; it is ORG/NAME ({error})") from error
    if not _NAME.fullmatch(name):
        raise SlatError(f"--push: {name!r} has no owner; name the repository as ORG/NAME")
    token = get_token()
    if not token:
        raise SlatError("--push: no token of the Hugging Face hub is here; run `hf auth login`, or set HF_TOKEN")
    return token


def push(folder: Path, name: str, private: bool = False, api: HfApi | None = None) -> str:
    """Upload an export and return its address.

    The repository is created if it does not exist; otherwise a commit is added.

    Args:
        folder: folder that :func:`.export` wrote.
        name: name of the repository, ``ORG/NAME``.
        private: whether the repository must be private.
        api: client of the hub; by default one with the token of this machine.

    Raises:
        SlatError: no valid name, no token, no network or no right to write; a folder that is no complete export, or an
            adapter whose base model only this machine has; or a public repository although ``private`` is true.
    """
    api = api or HfApi(token=check_push(name))
    _check_folder(folder)
    try:
        api.create_repo(name, private=private or None, exist_ok=True)
        if private and not api.model_info(name).private:
            raise SlatError(f"--push: {name} is there already, and public; choose another name, or leave out --private")
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Adapter exported by SLAT search")
    except SlatError:
        raise
    except HfHubHTTPError as error:
        raise SlatError(f"--push: {name}: {_error_text(error)}; the export itself is whole in {folder}") from error
    except Exception as error:  # errors of the connection are the HTTP library's own, which differs between versions
        raise SlatError(
            f"--push: the Hugging Face hub cannot be reached ({type(error).__name__}: {error}); the export itself is "
            f"whole in {folder}"
        ) from error
    return f"{api.endpoint}/{name}"


def _check_folder(folder: Path) -> None:
    if not (folder / "README.md").is_file():  # written last
        raise SlatError(f"--push: {folder} is no finished export")
    config = folder / "adapter_config.json"
    if config.is_file():
        base = json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"]
        if Path(base).is_dir():
            raise SlatError(
                f"--push: a peft adapter names its base model, and {base} is a folder that others do not have; "
                "export it with `--format merged`, or train on a model of the hub"
            )


def _error_text(error: HfHubHTTPError) -> str:
    status = error.response.status_code
    if status == 401:
        return "the hub does not accept the token; run `hf auth login` anew, or set HF_TOKEN"
    if status == 403:
        return "the token may not write there; take one with the right to write, or another owner"
    if isinstance(error, RepositoryNotFoundError) or status == 404:
        return "the hub has no such owner"
    return f"the hub says {status}: {error.server_message or error}"
