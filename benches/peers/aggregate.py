"""The function of AWS's post with its aggregation module for Python, on the event in a file."""

import base64
import json
import sys
import time

from aws_kinesis_agg import aggregator


def handle(event, send):
    """Aggregates the records as the module's example does; returns how many aggregates they make."""
    packer = aggregator.RecordAggregator(51200)
    aggregates = 0
    for record in event["Records"]:
        kinesis = record["kinesis"]
        full = packer.add_user_record(kinesis["partitionKey"], base64.b64decode(kinesis["data"]))
        if full is not None:
            send(full)
            aggregates += 1
    last = packer.clear_and_get()
    if last is not None:
        send(last)
        aggregates += 1
    send(None)
    return aggregates


def sender(stream):
    """Sends aggregates to the stream, as many in a request as 5 MiB take; `None` is the end of them."""
    import boto3

    client = boto3.client("kinesis")
    records = []

    def send(aggregate):
        if aggregate is not None:
            partition_key, explicit_hash_key, data = aggregate.get_contents()
            keys = {} if explicit_hash_key is None else {"ExplicitHashKey": explicit_hash_key}
            records.append({"Data": data, "PartitionKey": partition_key, **keys})
        if len(records) == 100 or (aggregate is None and records):
            client.put_records(StreamName=stream, Records=records)
            records.clear()

    return send


def forget(aggregate):
    """Does all that is to be done with an aggregate but send it."""
    if aggregate is not None:
        aggregate.get_contents()


def main():
    with open(sys.argv[1], "rb") as file:
        text = file.read()
    send = sender(sys.argv[3]) if len(sys.argv) > 3 else forget
    best, aggregates, lines = None, 0, 0
    for _ in range(int(sys.argv[2])):
        begun = time.process_time()
        event = json.loads(text)
        aggregates = handle(event, send)
        seconds = time.process_time() - begun
        lines = len(event["Records"])
        best = seconds if best is None else min(best, seconds)
    print(json.dumps({"lines": lines, "aggregates": aggregates, "cpu_seconds": best}))


main()
