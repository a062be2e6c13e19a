"""User records on stdin, PutRecords entries with aggregates by aws_kinesis_agg on stdout; see README.md."""

import argparse
import base64
import binascii

import peer


def write_aggregate(aggregate):
    partition_key, explicit_hash_key, data = aggregate.get_contents()
    entry = {"Data": base64.b64encode(data).decode("ascii"), "PartitionKey": partition_key}
    if explicit_hash_key is not None:
        entry["ExplicitHashKey"] = explicit_hash_key
    peer.write_line(entry)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-size", type=int, default=1024 * 1024, help="bytes of an aggregate, at most 1 MiB")
    arguments = parser.parse_args()
    from aws_kinesis_agg import aggregator

    try:
        packer = aggregator.RecordAggregator(arguments.max_size)
        for index, record in peer.json_lines(["partition_key", "data"]):
            try:
                data = base64.b64decode(record["data"], validate=True)
            except binascii.Error as error:
                raise peer.BadInput(f"stdin entry {index}: `data` is not base64: {error}") from None
            full = packer.add_user_record(record["partition_key"], data, record.get("explicit_hash_key"))
            if full is not None:
                write_aggregate(full)
    except ValueError as error:
        # A size past the limit, or a user record that is larger than an aggregate may be.
        raise peer.BadInput(str(error)) from None
    last = packer.clear_and_get()
    if last is not None:
        write_aggregate(last)


peer.run(main)
