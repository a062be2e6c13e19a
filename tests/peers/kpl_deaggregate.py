"""PutRecords entries on stdin, the user records that aws_kinesis_agg finds in them on stdout; see README.md."""

import base64
import binascii

import peer


def lambda_record(index, entry):
    """The entry as Lambda would hand it over, which is the form that aws_kinesis_agg documents."""
    try:
        base64.b64decode(entry["Data"], validate=True)
    except binascii.Error as error:
        raise peer.BadInput(f"stdin entry {index}: `Data` is not base64: {error}") from None
    return {
        "eventSource": "aws:kinesis",
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": entry["PartitionKey"],
            "sequenceNumber": str(index),
            "approximateArrivalTimestamp": 0,
            "data": entry["Data"],
        },
    }


def main():
    from aws_kinesis_agg import deaggregator

    for index, entry in peer.json_lines(["Data", "PartitionKey"]):
        for record in deaggregator.iter_deaggregate_records([lambda_record(index, entry)]):
            user_record = record["kinesis"]
            data = user_record["data"]
            if isinstance(user_record["partitionKey"], bytes):
                raise peer.BadInput(f"stdin entry {index}: a partition key is not UTF-8")
            peer.write_line(
                {
                    "record": index,
                    "partition_key": user_record["partitionKey"],
                    "explicit_hash_key": user_record.get("explicitHashKey"),
                    "aggregated": user_record.get("aggregated", False),
                    "sub_sequence_number": user_record.get("subSequenceNumber"),
                    # A record that it unpacked has bytes here, one that it passes through has what went in.
                    "data": data.decode("ascii") if isinstance(data, bytes) else data,
                }
            )


peer.run(main)
