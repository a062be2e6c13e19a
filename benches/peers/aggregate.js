// The function of AWS's post with its aggregation module for Node, on the event in a file.
"use strict";

const { readFileSync } = require("fs");
const { RecordAggregator } = require("aws-kinesis-agg");

// Aggregates the records as the module's example does; returns how many aggregates they make.
function handle(event) {
  let aggregates = 0;
  const aggregator = new RecordAggregator((error) => {
    if (error) throw error;
    aggregates += 1;
  });
  const records = event.Records.map(({ kinesis }) => ({
    partitionKey: kinesis.partitionKey,
    data: Buffer.from(kinesis.data, "base64"),
  }));
  aggregator.aggregateRecords(records, true);
  return aggregates;
}

const [file, rounds] = process.argv.slice(2);
const text = readFileSync(file);
let best = Infinity;
let result = {};
for (let round = 0; round < Number(rounds); round++) {
  const begun = process.cpuUsage();
  const event = JSON.parse(text);
  const aggregates = handle(event);
  const { user, system } = process.cpuUsage(begun);
  best = Math.min(best, (user + system) / 1e6);
  result = { lines: event.Records.length, aggregates, cpu_seconds: best };
}
console.log(JSON.stringify(result));
