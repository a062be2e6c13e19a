"""The function of AWS's post with its aggregation module for Python, on the event in a file."""

import base64
import json
import sys
import time

from aws_kinesis_agg import aggregator


def handle(event):
    """Aggregates the records as the module's example does; returns how many aggregates they make."""
    packer = aggregator.RecordAggregator(51200)
    aggregates = 0
    for record in event["Records"]:
        kinesis = record["kinesis"]
        full = packer.add_user_record(kinesis["partitionKey"], base64.b64decode(kinesis["data"]))
        if full is not None:
            full.get_contents()
            aggregates += 1
    last = packer.clear_and_get()
    if last is not None:
        last.get_contents()
        aggregates += 1
    return aggregates


def main():
    with open(sys.argv[1], "rb") as file:
        text = file.read()
    best, aggregates, lines = None, 0, 0
    for _ in range(int(sys.argv[2])):
        begun = time.process_time()
        event = json.loads(text)
        aggregates = handle(event)
        seconds = time.process_time() - begun
        lines = len(event["Records"])
        best = seconds if best is None else min(best, seconds)
    print(json.dumps({"lines": lines, "aggregates": aggregates, "cpu_seconds": best}))


main()
