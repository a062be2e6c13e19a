// User records on stdin, PutRecords entries with aggregates by aws-kinesis-agg on stdout; see ../README.md.
"use strict";

const { BadInput, decode, read, run, write } = require("./json-lines");

run(() => {
  const { RecordAggregator } = require("aws-kinesis-agg");
  const aggregator = new RecordAggregator((error, aggregate) => {
    if (error) throw new BadInput(error.message);
    write({
      Data: aggregate.data.toString("base64"),
      PartitionKey: aggregate.partitionKey,
      // Spelled with a capital by the library, unlike its two neighbours; left out of the line when absent.
      ExplicitHashKey: aggregate.ExplicitHashKey,
    });
  });
  const records = read(["partition_key", "data"]).map((record, index) => ({
    partitionKey: record.partition_key,
    explicitHashKey: record.explicit_hash_key ?? undefined,
    data: decode(record, "data", index),
  }));
  aggregator.aggregateRecords(records, true);
});
