"""One call by the standard library alone: runs here, and as the text of `python -c` inside a pod.

`python caller.py URL [ADDRESS:PORT] <BODY` prints what came back as JSON. With an address the URL's host is not looked
up but sent to it, as curl's --connect-to does.
"""

import http.client
import json
import sys
import time
import urllib.parse


def call(url: str, body: bytes, connect_to: str = "", timeout_s: float = 90.0) -> dict[str, object]:
    """Raises OSError or http.client.HTTPException."""
    parts = urllib.parse.urlsplit(url)
    host, _, port = connect_to.rpartition(":") if connect_to else (parts.hostname or "", "", str(parts.port or 80))
    connection = http.client.HTTPConnection(host, int(port), timeout=timeout_s)
    began = time.monotonic()
    try:
        connection.request("POST", parts.path or "/", body, {"Host": parts.netloc})
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    return {
        "status": answer.status,
        "seconds": time.monotonic() - began,
        "headers": headers,
        "value": json.loads(content) if headers.get("content-type", "").endswith("json") else None,
    }


if __name__ == "__main__":
    print(json.dumps(call(sys.argv[1], sys.stdin.buffer.read(), "".join(sys.argv[2:]))))
