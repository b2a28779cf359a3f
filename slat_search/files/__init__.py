"""Files of a run: written atomically, and compared with a digest when read. Without torch and Ray."""

from .arrays import arrays_digest, check_finite, load_arrays, save_arrays
from .digests import DIGEST, check_signature, digest, signed
from .formulas import with_formula, without_formula
from .listed import MANIFEST, keep_digests, read_listed, write_listed
from .locks import HeldError, is_held, locked
from .reading import as_text, check_regular, parse_json, read_bytes, read_json, read_lines, read_text
from .writing import append_line, whole_file, whole_folder, write_bytes, write_json, write_text

__all__ = [
    "DIGEST",
    "MANIFEST",
    "HeldError",
    "append_line",
    "arrays_digest",
    "as_text",
    "check_finite",
    "check_regular",
    "check_signature",
    "digest",
    "is_held",
    "keep_digests",
    "load_arrays",
    "locked",
    "parse_json",
    "read_bytes",
    "read_json",
    "read_lines",
    "read_listed",
    "read_text",
    "save_arrays",
    "signed",
    "whole_file",
    "whole_folder",
    "with_formula",
    "without_formula",
    "write_bytes",
    "write_json",
    "write_listed",
    "write_text",
]
