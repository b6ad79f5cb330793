"""The format of a clip's JSON, ``jaxtalk.clip/1``: the schema that ships with the package, and its validator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema

from jaxtalk.core import InputError

NAME = "jaxtalk.clip/1"


@cache
def validator() -> jsonschema.Draft202012Validator:
  """The compiled JSON Schema."""
  return jsonschema.Draft202012Validator(json.loads(files("jaxtalk.clips").joinpath("clip.schema.json").read_text()))


def validate(document: Mapping[str, Any]) -> None:
  """Raises InputError naming the first place at which ``document`` is not ``jaxtalk.clip/1``."""
  error = jsonschema.exceptions.best_match(validator().iter_errors(document))
  if error is not None:
    where = "/".join(str(part) for part in error.absolute_path) or "the document"
    raise InputError(f"not {NAME}: {where}: {error.message[:200]}")
