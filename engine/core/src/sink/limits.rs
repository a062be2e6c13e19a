//! What the services take: which records go into one API request, and how much in a second.

use crate::limits::{firehose, kinesis};
use crate::record::Record;

/// The API that a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Firehose PutRecordBatch: 500 records and 4 MiB.
    PutRecordBatch,
    /// Kinesis PutRecords: 500 records, and 10 MiB of data and partition keys, before base64.
    PutRecords,
}

impl Api {
    /// What AWS calls it.
    pub fn name(self) -> &'static str {
        match self {
            Api::PutRecordBatch => "PutRecordBatch",
            Api::PutRecords => "PutRecords",
        }
    }

    /// The most bytes that the service takes in a request.
    pub fn max_bytes(self) -> usize {
        match self {
            Api::PutRecordBatch => firehose::MAX_REQUEST_SIZE,
            Api::PutRecords => kinesis::MAX_REQUEST_SIZE,
        }
    }

    /// The bytes of a request unless told otherwise.
    pub fn default_bytes(self) -> usize {
        match self {
            Api::PutRecordBatch => firehose::MAX_REQUEST_SIZE,
            Api::PutRecords => kinesis::COMPATIBLE_REQUEST_SIZE,
        }
    }

    /// How the bytes of a request are counted unless told otherwise.
    pub fn default_count(self) -> Counted {
        match self {
            Api::PutRecordBatch => Counted::Base64,
            Api::PutRecords => Counted::Data,
        }
    }
}

/// How the bytes of a request are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Data and partition keys, as Kinesis counts.
    Data,
    /// The whole JSON text with its base64. AWS does not say which of the two Firehose means; this
    /// is the stricter reading.
    Base64,
}

impl Counted {
    /// The bytes of a request with these records.
    pub fn size_of(self, records: &[Record]) -> usize {
        match self {
            Counted::Data => records.iter().map(|record| self.size_of_one(record)).sum(),
            Counted::Base64 => ENVELOPE + records.iter().map(|record| self.size_of_one(record)).sum::<usize>(),
        }
    }

    fn size_of_one(self, record: &Record) -> usize {
        match self {
            Counted::Data => record.data_len() + record.key_len(),
            Counted::Base64 => record.data_len().div_ceil(3) * 4 + AROUND_RECORD,
        }
    }
}

/// Both APIs take at most this many records a request.
pub const MAX_RECORDS: usize = firehose::MAX_REQUEST_RECORDS;
const _: () = assert!(MAX_RECORDS == kinesis::MAX_REQUEST_RECORDS);

/// `{"DeliveryStreamName":"","Records":[]}` with a stream name of at most 64 characters.
const ENVELOPE: usize = 38 + 64;
/// `{"Data":""},` around each record.
const AROUND_RECORD: usize = 12;

/// Counts records into requests.
#[derive(Clone, Debug)]
pub struct RequestLimits {
    counted: Counted,
    max_bytes: usize,
    records: usize,
    bytes: usize,
    requests: u64,
}

impl RequestLimits {
    /// The limits of that API. No request yet.
    pub fn new(api: Api) -> RequestLimits {
        RequestLimits::with_size(api.default_bytes(), api.default_count())
    }

    /// Requests of at most that many bytes. No request yet.
    pub fn with_size(max_bytes: usize, counted: Counted) -> RequestLimits {
        RequestLimits { counted, max_bytes, records: 0, bytes: 0, requests: 0 }
    }

    /// Lowers or raises the limit for the records that follow.
    pub fn set_max_bytes(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
    }

    /// Counts the record; `true` when it begins a new request.
    pub fn begins_request(&mut self, record: &Record) -> bool {
        let size = self.counted.size_of_one(record);
        let begins = self.records == 0 || self.records == MAX_RECORDS || self.bytes + size > self.max_bytes;
        if begins {
            (self.records, self.bytes) = (0, self.counted.size_of(&[]));
            self.requests += 1;
        }
        self.records += 1;
        self.bytes += size;
        begins
    }

    /// The next record begins a request in any case.
    pub fn end_request(&mut self) {
        self.records = 0;
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests_for(mut limits: RequestLimits, sizes: &[usize]) -> u64 {
        for &size in sizes {
            limits.begins_request(&Record::from_bytes(vec![0; size], 1, None, Vec::new()));
        }
        limits.requests()
    }

    #[test]
    fn five_hundred_records_or_the_bytes() {
        for api in [Api::PutRecordBatch, Api::PutRecords] {
            let requests_for = |sizes| requests_for(RequestLimits::new(api), sizes);
            assert_eq!(requests_for(&[]), 0);
            assert_eq!(requests_for(&[1; 500]), 1);
            assert_eq!(requests_for(&[1; 501]), 2);
        }
        // 1,024,000 B are 1,365,336 B of base64: three fit into 4 MiB, four do not.
        let firehose = RequestLimits::new(Api::PutRecordBatch);
        assert_eq!(requests_for(firehose.clone(), &[1_024_000; 3]), 1);
        assert_eq!(requests_for(firehose, &[1_024_000; 4]), 2);
        let by_data = RequestLimits::with_size(4 << 20, Counted::Data);
        assert_eq!(requests_for(by_data.clone(), &[1_024_000; 4]), 1);
        assert_eq!(requests_for(by_data, &[1_024_000, 1_024_000, 1_024_000, 1_024_000, 98_305]), 2);
        let kinesis = RequestLimits::new(Api::PutRecords);
        assert_eq!(requests_for(kinesis.clone(), &[1 << 20; 5]), 1);
        assert_eq!(requests_for(kinesis, &[(1 << 20) + 1; 5]), 2);
    }

    #[test]
    fn a_limit_that_was_lowered_holds_for_the_next_record() {
        let record = Record::from_bytes(vec![0; 100], 1, None, Vec::new());
        let mut limits = RequestLimits::with_size(1_000, Counted::Data);
        assert!(limits.begins_request(&record));
        assert!(!limits.begins_request(&record));
        limits.set_max_bytes(250);
        assert!(limits.begins_request(&record));
        assert!(!limits.begins_request(&record));
        limits.end_request();
        assert!(limits.begins_request(&record));
        // Larger than the limit: alone.
        limits.set_max_bytes(50);
        assert!(limits.begins_request(&record));
        assert!(limits.begins_request(&record));
        assert_eq!(limits.requests(), 5);
    }
}
