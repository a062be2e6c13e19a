"""Reads Prometheus's text format with its own Python client; the families as JSON lines."""

import sys

from peer import BadInput, run, write_line


def main():
    from prometheus_client.parser import text_string_to_metric_families

    try:
        families = list(text_string_to_metric_families(sys.stdin.read()))
    except ValueError as error:
        raise BadInput(f"stdin is not in the text format: {error}") from None
    for family in families:
        samples = [[sample.name, sample.labels, sample.value] for sample in family.samples]
        write_line({"name": family.name, "type": family.type, "help": family.documentation, "samples": samples})


run(main)
