"""What the families of desync forms are made of: a request line, a Host, a smuggled request, and the form itself."""

from msgspec import Struct

HOST = b"Host: 127.0.0.1\r\n"
POST = b"POST /ns/f/ HTTP/1.1\r\n" + HOST
GET = b"GET /ns/f/ HTTP/1.1\r\n" + HOST
SMUGGLED = b"GET /ns/f/smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
"""What an attacker would like somebody behind the first parser to read as a request of its own."""
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LAST = b"0\r\n\r\n"


class Form(Struct, frozen=True):
    """One hostile byte string for a client's connection."""

    family: str
    name: str
    data: bytes
    tolerated: bool = False
    """Some of it is read as a request, though a strict reader refuses it: known, and put into normal form."""


def family(name: str, forms: dict[str, bytes], *, tolerated: tuple[str, ...] = ()) -> list[Form]:
    """Forms of one family. `tolerated` names those of them that are read in spite of a fault of form."""
    unknown = set(tolerated) - forms.keys()
    if unknown:
        raise ValueError(f"{name}: no form is called {sorted(unknown)}")
    return [Form(name, key, data, key in tolerated) for key, data in forms.items()]


def shown(byte: int) -> str:
    """A byte in a form's name."""
    return f"0x{byte:02x}"


def with_length(body: bytes) -> bytes:
    """The field for this body, the end of the head, and the body."""
    return b"Content-Length: %d\r\n\r\n" % len(body) + body
