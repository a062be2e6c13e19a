//! Which records go into one API request.

use crate::record::Record;

/// The API that a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Firehose PutRecordBatch: 500 records and 4 MiB. AWS does not say whether the 4 MiB are counted before or
    /// after base64, so the whole JSON text is counted, the stricter reading.
    PutRecordBatch,
    /// Kinesis PutRecords: 500 records and 5 MiB of data and partition keys, before base64.
    PutRecords,
}

/// Both APIs take at most this many records a request. Source: the service models of Firehose and Kinesis.
const MOST_RECORDS: usize = 500;
/// `{"DeliveryStreamName":"","Records":[]}` with a stream name of at most 64 characters.
const ENVELOPE: usize = 38 + 64;
/// `{"Data":""},` around each record.
const AROUND_RECORD: usize = 12;

/// Counts records into requests.
#[derive(Debug)]
pub struct RequestLimits {
    api: Api,
    records: usize,
    bytes: usize,
    requests: u64,
}

impl RequestLimits {
    /// No request yet.
    pub fn new(api: Api) -> RequestLimits {
        RequestLimits { api, records: 0, bytes: 0, requests: 0 }
    }

    /// Counts the record; `true` when it begins a new request.
    pub fn begins_request(&mut self, record: &Record) -> bool {
        let (size, limit) = match self.api {
            Api::PutRecordBatch => (record.length().div_ceil(3) * 4 + AROUND_RECORD, (4 << 20) - ENVELOPE),
            Api::PutRecords => (record.length() + record.key_length(), 5 << 20),
        };
        let begins = self.requests == 0 || self.records == MOST_RECORDS || self.bytes + size > limit;
        if begins {
            (self.records, self.bytes) = (0, 0);
            self.requests += 1;
        }
        self.records += 1;
        self.bytes += size;
        begins
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests_for(api: Api, sizes: &[usize]) -> u64 {
        let mut limits = RequestLimits::new(api);
        for &size in sizes {
            limits.begins_request(&Record::from_bytes(vec![0; size], 1, None, Vec::new()));
        }
        limits.requests()
    }

    #[test]
    fn five_hundred_records_or_the_bytes() {
        for api in [Api::PutRecordBatch, Api::PutRecords] {
            assert_eq!(requests_for(api, &[]), 0);
            assert_eq!(requests_for(api, &[1; 500]), 1);
            assert_eq!(requests_for(api, &[1; 501]), 2);
        }
        // 1,024,000 B are 1,365,336 B of base64: three fit into 4 MiB, four do not.
        assert_eq!(requests_for(Api::PutRecordBatch, &[1_024_000; 3]), 1);
        assert_eq!(requests_for(Api::PutRecordBatch, &[1_024_000; 4]), 2);
        assert_eq!(requests_for(Api::PutRecords, &[1 << 20; 5]), 1);
        assert_eq!(requests_for(Api::PutRecords, &[(1 << 20) + 1; 5]), 2);
    }
}
