"""Reads YAML with PyYAML; its documents as JSON lines."""

import sys

from peer import BadInput, run, write_line


def main():
    import yaml

    try:
        documents = list(yaml.safe_load_all(sys.stdin.read()))
    except yaml.YAMLError as error:
        raise BadInput("stdin is not YAML: " + " ".join(str(error).split())) from None
    for document in documents:
        write_line(document)


run(main)
