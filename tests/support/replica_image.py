"""An image for contract tests, made of this machine's own programs: a shell, a few tools and perl, which can listen.

No registry and no builder: a tar that the engine imports. Needs `ldd`, and the essential packages of Debian.
"""

import re
import shutil
import subprocess
import tarfile
from pathlib import Path

PROGRAMS = ("sh", "sleep", "seq", "env", "ls", "cat", "tail", "id", "touch", "mkdir", "setsid", "perl")
LISTEN = (
    "use IO::Socket::INET; $| = 1; "
    "my $s = IO::Socket::INET->new(Listen => 5, LocalAddr => $ENV{ADDRESS} || '0.0.0.0', LocalPort => $ENV{PORT}, "
    "ReuseAddr => 1) or die $!; print qq{up\n}; "
    "while (my $c = $s->accept) { print $c qq{HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes}; "
    "close $c }"
)
"""A program for `perl -e`: answers every connection on PORT."""


def make_image_tar(path: Path) -> str | None:
    """Write the file system; None, or in one sentence why this machine cannot."""
    missing = [name for name in (*PROGRAMS, "ldd") if shutil.which(name) is None]
    if missing:
        return f"this machine has no {missing[0]} to make a test image of"
    with tarfile.open(path, "w") as archive:
        done: set[str] = set()
        for name in PROGRAMS:
            found = shutil.which(name)
            assert found is not None
            _add(archive, Path(found).resolve(), f"bin/{name}", done)
            for library in _libraries(found):
                _add(archive, Path(library).resolve(), library.lstrip("/"), done)
        folders = subprocess.run(
            ["perl", "-e", "print join qq{\n}, @INC"], capture_output=True, text=True, check=True
        ).stdout.split()
        base = next((Path(folder) for folder in folders if folder.endswith("perl-base")), None)
        if base is None:
            return "this machine's perl is not Debian's, so no test image is made of it"
        _add(archive, base, str(base).lstrip("/"), done)
        _add_folder(archive, "tmp", 0o1777, done)
    return None


def _add(archive: tarfile.TarFile, source: Path, target: str, done: set[str]) -> None:
    if target not in done:
        for parent in reversed(Path(target).parents[:-1]):
            _add_folder(archive, str(parent), 0o755, done)
        done.add(target)
        archive.add(source, target)


def _add_folder(archive: tarfile.TarFile, name: str, mode: int, done: set[str]) -> None:
    """An engine gives folders that the tar does not name a mode of its own choice."""
    if name not in done:
        done.add(name)
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        archive.addfile(entry)


def _libraries(program: str) -> list[str]:
    text = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(?:=> )?(/\S+) \(0x", text)
