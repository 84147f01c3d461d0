"""Models on the hub: what a repository holds at one commit, and downloads that can be cut.

huggingface_hub starts a file anew when its process was killed or gave up; here what has come stays
and the rest is asked for. Its client, its metadata and its errors are used as they are.
"""

import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff

log = logging.getLogger(__name__)

# the HTTP client logs every request, with addresses that are signed and so open to whoever reads
logging.getLogger(HTTPError.__module__.partition(".")[0]).setLevel(logging.WARNING)

TROUBLE = (HTTPError, ConnectionError)
"""What is raised where the hub cannot be reached or refuses; `why` says it in words."""

MB = 2**20
TRIES = 5
"""So many times in a row a download may bring nothing before it is given up."""


class Repository(NamedTuple):
    """A model at one commit: the names of its files, and the licence on its card."""

    id: str
    commit: str
    names: list[str]
    license: str | None


class File(NamedTuple):
    """Where a file lies, its bytes, and the SHA-256 that the hub says it has, of large files."""

    url: str
    size: int
    sha256: str | None


def look_up(source: str, revision: str) -> Repository:
    """Return the repository ``source`` (owner/name) at the commit that ``revision`` means now."""
    try:
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        info = HfApi().model_info(source, revision=revision, timeout=timeout)
    except (ValueError, KeyError, TypeError) as error:
        raise ConnectionError(f"{constants.ENDPOINT} does not answer as a hub does") from error
    card = info.card_data or {}
    stated = card.get("license")
    stated = card.get("license_name") or stated if stated == "other" else stated
    words = ", ".join(map(str, stated)) if isinstance(stated, list) else stated
    return Repository(source, info.sha, [s.rfilename for s in info.siblings or ()], words)


def look_up_file(repository: Repository, name: str) -> File:
    """Return where a file of the repository lies, and what the hub says of it."""
    url = hf_hub_url(repository.id, name, revision=repository.commit)
    said = get_hf_file_metadata(url, retry_on_errors=True)
    if said.size is None:
        raise ConnectionError(f"{constants.ENDPOINT} does not say the size of {name}")
    is_sha256 = re.fullmatch("[0-9a-f]{64}", said.etag or "")
    return File(url, said.size, said.etag if is_sha256 else None)


def missing(file: File, path: Path) -> int:
    """Return how many bytes of ``file`` are not yet in ``path``; less than 0 if it has too many."""
    return file.size - (path.stat().st_size if path.is_file() else 0)


def download(file: File, path: Path) -> Iterator[None]:
    """Append to ``path`` what it lacks of ``file``; yield at every megabyte.

    A cut connection is taken up where it ended. Raises one of ``TROUBLE`` where nothing more comes;
    what has come stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    idle = 0
    while (left := missing(file, path)) > 0:
        trouble = None
        try:
            yield from _append(file, path)
        except HfHubHTTPError:
            raise
        except HTTPError as error:
            trouble = error
        idle = 0 if missing(file, path) < left else idle + 1
        if idle == TRIES:
            raise ConnectionError(f"{path.name}: nothing more comes") from trouble
        if missing(file, path) > 0:
            done = path.stat().st_size
            log.info("%s: cut at %d of %d bytes (%s)", path.name, done, file.size, trouble)
            time.sleep(idle)
    if left < 0:
        path.unlink()
        raise ConnectionError(f"{path.name}: more comes than its {file.size} bytes")


def _append(file: File, path: Path) -> Iterator[None]:
    done = path.stat().st_size
    # without identity the server may compress, and a range would count other bytes
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with http_stream_backoff(
        "GET",
        file.url,
        headers=build_hf_headers(headers=headers),
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        retry_on_exceptions=(),
    ) as response:
        hf_raise_for_status(response)
        is_rest = response.status_code == 206
        with path.open("ab" if is_rest else "wb", buffering=0) as target:
            for chunk in response.iter_raw():
                before = target.tell() // MB
                target.write(chunk)
                yield from [None] * (target.tell() // MB - before)


def why(error: Exception, source: str, revision: str) -> str:
    """Return in words what is wrong, and what is expected of the user."""
    page = f"{constants.ENDPOINT}/{source}"
    if isinstance(error, GatedRepoError):
        return f"is gated, expected its licence to be accepted on {page} and HF_TOKEN to be set"
    if isinstance(error, RepositoryNotFoundError):
        return f"is not found, expected {page} to be there, or HF_TOKEN to be set if it is private"
    if isinstance(error, RevisionNotFoundError):
        return f"has no revision {revision}, expected a branch, tag or commit of {page}"
    if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403):
        return f"may not be read, expected the HF_TOKEN of an account that may read {page}"
    if isinstance(error, HfHubHTTPError):
        return f"cannot be fetched (the hub answers {error.response.status_code})"
    words = str(error) if type(error) is ConnectionError else type(error).__name__
    return f"cannot be fetched ({words}), expected the hub to be reachable"
