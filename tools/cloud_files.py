"""Finds and reads clouds.yaml, secure.yaml and clouds-public.yaml, as openstacksdk does."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from shared.settings import SettingsError

PROFILES: Mapping[str, Mapping[str, Any]] = {
    "otc": {"auth": {"auth_url": "https://iam.{region_name}.otc.t-systems.com/v3"}, "regions": ["eu-de", "eu-nl"]},
    "otc-swiss": {"auth": {"auth_url": "https://iam-pub.eu-ch2.sc.otc.t-systems.com/v3"}, "regions": ["eu-ch2"]},
}
"""The vendor profiles of openstacksdk that have bare metal. Others can be given in a clouds-public.yaml."""


class CloudsError(SettingsError):
    """No cloud can be found or used; the message consists of whole sentences and says what to do."""


class Files(NamedTuple):
    """Where files are searched: first the file that a variable names, then `folders` in order."""

    given: Mapping[str, str]
    home: Path
    folders: tuple[Path, ...]

    def clouds(self, name: str, variable: str) -> tuple[Path, dict[str, Any]] | None:
        """The first file of that name, with its clouds. Raises CloudsError."""
        path = self._named(variable) or self._first(name)
        if path is None:
            return None
        body = _read(path)
        found = body.get("clouds") if isinstance(body, dict) else None
        if not isinstance(found, dict) or not all(isinstance(entry, dict) for entry in found.values()):
            raise CloudsError(f"{path} has no mapping `clouds` with an entry for each cloud. Add it.")
        return path, {str(name): entry for name, entry in found.items()}

    def path(self, text: str) -> str:
        """Expand a path from a file: `~/` is the home directory; others are relative to the first folder."""
        return str(self.home / text[2:] if text.startswith("~/") else self.folders[0] / text)

    def profile(self, name: object) -> Mapping[str, Any] | None:
        """The profile of a vendor's cloud; None if the name is not known."""
        path = self._first("clouds-public")
        body = _read(path) if path else None
        public = body.get("public-clouds") if isinstance(body, dict) else None
        found = public.get(name) if isinstance(public, dict) and isinstance(name, str) else None
        return found if isinstance(found, dict) else PROFILES.get(str(name))

    def _named(self, variable: str) -> Path | None:
        if variable not in self.given:
            return None
        path = Path(self.given[variable])
        if not os.path.exists(path):
            raise CloudsError(f"{variable} names {path}, which does not exist. Correct it, or unset it.")
        return path

    def _first(self, name: str) -> Path | None:
        every = (folder / f"{name}{ending}" for folder in self.folders for ending in (".yaml", ".yml", ".json"))
        return next((path for path in every if os.path.exists(path)), None)


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise CloudsError(f"{path} is not UTF-8 text. Correct it.") from None
    except OSError as error:
        raise CloudsError(f"{path} cannot be read ({error.strerror}). Give this user read access.") from None
    try:
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except json.JSONDecodeError as error:
        raise CloudsError(f"{path} is not JSON (line {error.lineno}). Correct it.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: an invalid date
        mark = getattr(error, "problem_mark", None)
        raise CloudsError(f"{path} is not YAML{f' (line {mark.line + 1})' if mark else ''}. Correct it.") from None


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings, recursively; other values of `above` replace those of `below`."""
    both = {name: merged(below[name], value) for name, value in above.items() if _is_in_both(name, below, above)}
    return {**below, **above, **both}


def _is_in_both(name: str, *sides: Mapping[str, Any]) -> bool:
    return all(isinstance(side.get(name), dict) for side in sides)
