"""`make build`: build the Lambda artifact, as a directory and as a zip. The same inputs give the same bytes."""

import argparse
import calendar
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build"
LAMBDA_PYTHON = "3.13"
LAMBDA_PLATFORM = "aarch64-manylinux2014"
"""The Runtime and Architectures of the template's functions."""

UNPACKED_AT = "/var/task"
"""Where Lambda unpacks the code. Bytecode that names its sources there is loaded without a change."""

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can store."""

UNUSED = ("charset_normalizer",)
"""Packages that the artifact leaves out: `requests` guesses encodings with this one, and all bodies here are JSON."""

LEFT_BEHIND = ("bin", ".lock")
"""What the installer leaves behind."""


class BuildError(Exception):
    """The artifact cannot be built; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What goes into an artifact: packages, locked by hash, and our sources.

    `metadata` names the distributions whose METADATA is read at run time; None keeps all metadata. `without` names
    locked packages that are not needed at run time.
    """

    name: str
    lock: Path
    sources: tuple[Path, ...]
    metadata: tuple[str, ...] | None = None
    host: bool = False
    bytecode: bool = True
    without: tuple[str, ...] = ()

    @property
    def directory(self) -> Path:
        return BUILD / self.name

    @property
    def archive(self) -> Path:
        return BUILD / f"bms-volume-detach{'' if self.name == 'lambda' else f'-{self.name}'}.zip"


def product(host: bool = False, bytecode: bool = True) -> Recipe:
    """The artifact of all functions, for Lambda or for this machine and this Python."""
    name = ("host" if host else "lambda") + ("" if bytecode else "-sources")
    # No metadata is read at run time.
    sources = (ROOT / "functions", ROOT / "shared")
    return Recipe(name, ROOT / "requirements.lock", sources, (), host, bytecode, UNUSED)


def build(recipe: Recipe) -> bool:
    """Build the directory and the zip, unless they exist from the same inputs. Returns whether it built."""
    compiler = compiler_of(recipe) if recipe.bytecode else None
    BUILD.mkdir(exist_ok=True)
    # `sam build` builds all functions at once, and each of them uses the same artifact.
    with (BUILD / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp, inputs = BUILD / f".{recipe.name}.inputs", _inputs(recipe, compiler)
        complete = recipe.directory.is_dir() and recipe.archive.is_file() and stamp.is_file()
        if complete and stamp.read_text() == inputs:
            return False
        stamp.unlink(missing_ok=True)
        shutil.rmtree(recipe.directory, ignore_errors=True)
        _install(recipe)
        _trim(recipe)
        if compiler:
            _compile(recipe.directory, compiler)
        _normalise(recipe.directory)
        _pack(recipe.directory, recipe.archive)
        stamp.write_text(inputs)
        return True


def _install(recipe: Recipe) -> None:
    platform = () if recipe.host else ("--python-platform", LAMBDA_PLATFORM, "--python-version", LAMBDA_PYTHON)
    options = ("--require-hashes", "--no-deps", "--only-binary", ":all:", "--link-mode", "copy", "--no-config")
    target = ("--python", sys.executable, "--target", str(recipe.directory), "-r", str(recipe.lock))
    _run([str(_uv()), "pip", "install", "--quiet", *options, *platform, *target])
    for source in recipe.sources:
        into = recipe.directory / source.name
        if source.is_dir():
            shutil.copytree(source, into, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copyfile(source, into)


def _trim(recipe: Recipe) -> None:
    """Remove what is not needed at run time: tests, texts at the root, metadata, and files of the installer."""
    for path in list(_unwanted(recipe)):
        if path.is_dir():
            shutil.rmtree(path)
        else:  # a file, or gone with a directory above it
            path.unlink(missing_ok=True)


def _unwanted(recipe: Recipe) -> Iterator[Path]:
    for path in recipe.directory.iterdir():
        if path.name in (*recipe.without, *LEFT_BEHIND) or path.suffix in (".md", ".rst", ".txt"):
            yield path
        elif path.suffix == ".dist-info" and recipe.metadata is not None:
            is_read = path.name.split("-")[0] in recipe.metadata
            yield from (file for file in path.iterdir() if file.name != "METADATA") if is_read else [path]
    yield from recipe.directory.glob("*/**/tests")


def _compile(directory: Path, python: str) -> None:
    """Compile without a check of the sources, because the check costs time at each import and they never change.

    One process and a fixed hash seed make the bytes reproducible.
    """
    options = ("-q", "-j", "1", "--invalidation-mode", "unchecked-hash", "-s", str(directory), "-p", UNPACKED_AT)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    _run([python, "-m", "compileall", *options, str(directory)], clean | {"PYTHONHASHSEED": "0"})


def _normalise(directory: Path) -> None:
    for path in (*directory.rglob("*"), directory):
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (calendar.timegm(EPOCH),) * 2)


def _pack(directory: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for path in _files(directory):
            entry = zipfile.ZipInfo(path.relative_to(directory).as_posix(), EPOCH)
            entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, 0o100644 << 16, 3
            packed.writestr(entry, path.read_bytes(), compresslevel=9)


def compiler_of(recipe: Recipe) -> str:
    """A Python with the target's minor version, which decides the bytecode format. Raises BuildError."""
    if recipe.host:
        return sys.executable
    named = os.environ.get("LAMBDA_PYTHON")
    version = "import sys; print('%d.%d' % sys.version_info[:2])"
    for candidate in [named] if named else _installed():
        if _printed(candidate, "-c", version) == LAMBDA_PYTHON:
            return candidate
    raise BuildError(
        f"Lambda runs Python {LAMBDA_PYTHON} and ignores bytecode of other versions; "
        f"{f'{named} is not Python {LAMBDA_PYTHON}' if named else 'no such Python is on the path, under pyenv or uv'}. "
        f"Install it: pyenv install {LAMBDA_PYTHON}, or uv python install {LAMBDA_PYTHON}; "
        f"or name it: LAMBDA_PYTHON=/path/to/python{LAMBDA_PYTHON}; "
        "or ship sources only, which doubles the import time of a cold start: BYTECODE=0"
    )


def _installed() -> Iterator[str]:
    """Candidates for a Python of Lambda's version, in order of preference.

    pyenv's command on the path only reports that the version is not active, so its own directory is searched.
    """
    yield sys.executable
    yield f"python{LAMBDA_PYTHON}"
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(pyenv.glob(f"versions/{LAMBDA_PYTHON}*/bin/python{LAMBDA_PYTHON}")))
    # Only those that uv installed: its search for others stops at the command of pyenv.
    options = ("--managed-python", "--system", "--no-python-downloads", "--no-project", "--no-config")
    yield _printed(str(_uv()), "python", "find", LAMBDA_PYTHON, *options)


def _printed(*command: str) -> str:
    """The output of a command; empty if it does not exist or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return ""


def _inputs(recipe: Recipe, compiler: str | None) -> str:
    digest = hashlib.sha256(repr((recipe, compiler, sys.version)).encode())
    for root in (Path(__file__), recipe.lock, *recipe.sources):
        for path in _files(root):
            if "__pycache__" not in path.parts:
                digest.update(f"{path}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _files(root: Path) -> list[Path]:
    """All files under a directory, in a fixed order; for a file, the file itself."""
    found = [root] if root.is_file() else [path for path in root.rglob("*") if path.is_file()]
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def _uv() -> Path:
    """The locked uv, beside the Python that runs this."""
    return Path(sys.executable).parent / "uv"


def _run(command: Sequence[str], environment: dict[str, str] | None = None) -> None:
    # Only our own commands, with paths of this repository and the Python that the caller names.
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise BuildError(f"{Path(command[0]).name} failed: {(done.stderr or done.stdout).strip()}")


def _described(recipe: Recipe) -> str:
    files = _files(recipe.directory)
    unpacked = sum(path.stat().st_size for path in files) / 1e6
    packed = recipe.archive.stat().st_size / 1e6
    digest = hashlib.sha256(recipe.archive.read_bytes()).hexdigest()
    where = recipe.archive.relative_to(ROOT)
    return f"{where}: {packed:.1f} MB, unpacked {unpacked:.1f} MB in {len(files)} files, sha256 {digest}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make build", description=__doc__)
    parser.add_argument("--platform", choices=("lambda", "host"), default="lambda", help="host: this machine's Python")
    parser.add_argument("--no-bytecode", action="store_true", help="ship sources only")
    parser.add_argument("--into", type=Path, help="copy the directory there, for `sam build`")
    chosen = parser.parse_args()
    recipe = product(host=chosen.platform == "host", bytecode=not chosen.no_bytecode)
    try:
        made = build(recipe)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    if chosen.into:
        shutil.copytree(recipe.directory, chosen.into, dirs_exist_ok=True)
    else:
        print(f"{_described(recipe)}{'' if made else ' (up to date)'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
