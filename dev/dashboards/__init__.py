"""The Grafana dashboards of Stoker as a program: `python -m dashboards FOLDER` writes them as JSON files."""
