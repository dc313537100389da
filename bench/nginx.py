"""Configurations of nginx: the replica that answers everything, and the `proxy_pass` that is the limit for a proxy."""

from pathlib import Path

SMALL = "a small answer from the replica\\n"
KIB, MIB = 1024, 1024 * 1024
SIZES = {"1KiB": KIB, "1MiB": MIB}
"""Bodies that are measured, by the path under /get/ and /put/."""

# `return` would answer before the body has come, which no replica does that reads what it is sent: a body is
# buffered whole, as for a slow upstream, and the request then goes on to this very server without it.
REPLICA = """
    location = / {{ return 200 '{small}'; }}
    location /get/ {{ alias {files}/; }}
    location /put/ {{
      client_body_buffer_size 2m; proxy_pass_request_body off; proxy_method GET; proxy_set_header Content-Length '';
      proxy_http_version 1.1; proxy_set_header Connection ''; rewrite ^ / break; proxy_pass http://itself;
    }}
"""
PROXY = """
    proxy_http_version 1.1; proxy_set_header Connection ''; proxy_buffering off; proxy_request_buffering off;
    proxy_buffer_size 64k; proxy_buffers 4 64k; proxy_busy_buffers_size 128k; client_body_buffer_size 64k;
    location / {{ proxy_pass http://replica; }}
    location /events {{ proxy_pass http://events; }}
"""
CONFIG = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; client_max_body_size 0; sendfile on; open_file_cache max=10;
  client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  {upstreams}
  server {{ listen 127.0.0.1:{port} backlog=1024; {locations} }}
}}
"""
UPSTREAM = "upstream {name} {{ server {address}; keepalive 64; keepalive_requests 1000000000; }}\n"


def make_files(folder: Path) -> None:
    """The answers under /get/."""
    folder.mkdir(exist_ok=True)
    for name, size in SIZES.items():
        (folder / name).write_bytes(b"x" * size)


def replica_config(folder: str, port: str, files: Path) -> str:
    """An nginx that answers: `/` a few bytes, `/get/SIZE` so many, `/put/SIZE` a few once the body has come."""
    upstreams = UPSTREAM.format(name="itself", address=f"127.0.0.1:{port}")
    locations = REPLICA.format(small=SMALL, files=files)
    return CONFIG.format(folder=folder, port=port, upstreams=upstreams, locations=locations)


def proxy_config(folder: str, port: str, replica: str, events: str) -> str:
    """An nginx that streams to the replica, and /events to the other (both `host:port`) over kept connections."""
    upstreams = UPSTREAM.format(name="replica", address=replica) + UPSTREAM.format(name="events", address=events)
    return CONFIG.format(folder=folder, port=port, upstreams=upstreams, locations=PROXY.format())
