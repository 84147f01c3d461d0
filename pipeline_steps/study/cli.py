"""Turn a step's typed ``run`` function into a command line, and nothing more."""

import argparse
import inspect
import logging
import os
import sys
import traceback
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError

from pipeline_steps.study.errors import in_a_line, in_one_line
from pipeline_steps.study.fingerprint import ROOT

log = logging.getLogger(__name__)


def main(run: Callable[..., None], argv: list[str] | None = None) -> None:
    """Call ``run`` with one flag per argument: paths and words as text, all else as JSON.

    Whatever goes wrong ends with status 1 and one last line on stderr; a traceback stands
    above it only where the trouble is not bad input.
    """
    logging.basicConfig(level="INFO", format="%(asctime)s %(message)s", stream=sys.stderr)
    step = Path(inspect.getfile(run)).stem
    try:
        run(**vars(_parser(run, step).parse_args(argv)))
    except (ValueError, OSError) as error:
        if not _is_ours(error):
            log.exception("raised by a library")
        sys.exit(f"error: {step}: {_message(error)}")
    except Exception as error:
        log.exception("unexpected")
        sys.exit(f"error: {step}: {type(error).__name__}: {_message(error)}")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End like every other trouble: status 1, one line."""
        sys.exit(f"error: {self.prog}: {message}")


def _parser(run: Callable[..., None], step: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=step, description=inspect.getdoc(run))
    for name, argument in inspect.signature(run, eval_str=True).parameters.items():
        optional, kind = _without_none(argument.annotation)
        flag = f"--{name.replace('_', '-')}"
        if kind in (Path, str, int):
            parser.add_argument(flag, type=kind, required=not optional)
            continue
        # what can be longer than a command may be, a file has: `list` of workflow/rules/common.smk
        either = parser.add_mutually_exclusive_group(required=not optional and kind != list[Path])
        if kind == list[Path]:
            either.add_argument(flag, type=Path, nargs="*", default=[])
            either.add_argument(f"{flag}-from", type=_listed, dest=name, default=[])
        else:
            either.add_argument(flag, type=_from_json(kind))
            either.add_argument(f"{flag}-from", type=_from_json_of(kind), dest=name)
    return parser


def _listed(file: str) -> list[Path]:
    """Return the paths in a file, each ended by a NUL, which is the one thing no name can have."""
    return [Path(os.fsdecode(name)) for name in Path(file).read_bytes().split(b"\0") if name]


def _from_json_of(kind: Any) -> Callable[[str], Any]:
    return lambda file: _from_json(kind)(Path(file).read_text(encoding="utf-8").rstrip("\0"))


def _without_none(annotation: Any) -> tuple[bool, Any]:
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        kinds = [kind for kind in typing.get_args(annotation) if kind is not types.NoneType]
        return True, kinds[0]
    return False, annotation


def _from_json(kind: Any) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            return TypeAdapter(kind).validate_json(text)
        except ValidationError as error:
            raise argparse.ArgumentTypeError(in_one_line(error)) from error

    return parse


def _is_ours(error: BaseException) -> bool:
    """Return whether our own code raised ``error``, or the system over a file: bad input then."""
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    return isinstance(error, OSError) or Path(last).is_relative_to(ROOT)


def _message(error: BaseException) -> str:
    return in_a_line(str(error)) or type(error).__name__
