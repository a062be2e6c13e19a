// PutRecords entries on stdin, the user records that aws-kinesis-agg finds in them on stdout; see ../README.md.
"use strict";

const { BadInput, decode, read, run, write } = require("./json-lines");

run(() => {
  const { deaggregateSync } = require("aws-kinesis-agg");
  read(["Data", "PartitionKey"]).forEach((entry, index) => {
    decode(entry, "Data", index);
    // The form in which Lambda hands over the member `kinesis` of a record.
    const record = { partitionKey: entry.PartitionKey, sequenceNumber: String(index), data: entry.Data };
    deaggregateSync(record, true, (error, userRecords) => {
      // With a bad checksum or protobuf it reports an error and gives nothing, where KCL passes the record through.
      if (error) throw new BadInput(`stdin entry ${index}: ${error.message}`);
      for (const userRecord of userRecords) {
        // Nor does it look whether an index is inside its table.
        if (userRecord.partitionKey === undefined) throw new BadInput(`stdin entry ${index}: no such partition key`);
        write({
          record: index,
          partition_key: userRecord.partitionKey,
          explicit_hash_key: userRecord.explicitPartitionKey ?? null,
          aggregated: userRecord.subSequenceNumber !== undefined,
          sub_sequence_number: userRecord.subSequenceNumber ?? null,
          data: userRecord.data,
        });
      }
    });
  });
});
