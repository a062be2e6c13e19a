//! The calls that the server understands.

/// A call of one of the three services.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Action {
    /// Security Token Service.
    AssumeRole,
    /// Amazon Data Firehose.
    DescribeDeliveryStream,
    /// Kinesis Data Streams.
    DescribeLimits,
    /// Kinesis Data Streams.
    DescribeStreamSummary,
    /// Security Token Service.
    GetCallerIdentity,
    /// Kinesis Data Streams.
    ListShards,
    /// Amazon Data Firehose.
    PutRecordBatch,
    /// Kinesis Data Streams.
    PutRecords,
}

impl Action {
    /// The action's name in a policy, such as `firehose:PutRecordBatch`.
    pub fn permission(self) -> &'static str {
        match self {
            Action::AssumeRole => "sts:AssumeRole",
            Action::DescribeDeliveryStream => "firehose:DescribeDeliveryStream",
            Action::DescribeLimits => "kinesis:DescribeLimits",
            Action::DescribeStreamSummary => "kinesis:DescribeStreamSummary",
            Action::GetCallerIdentity => "sts:GetCallerIdentity",
            Action::ListShards => "kinesis:ListShards",
            Action::PutRecordBatch => "firehose:PutRecordBatch",
            Action::PutRecords => "kinesis:PutRecords",
        }
    }

    /// The action that an `X-Amz-Target` header names.
    pub(crate) fn from_target(target: &str) -> Option<Action> {
        match target {
            "Firehose_20150804.DescribeDeliveryStream" => Some(Action::DescribeDeliveryStream),
            "Firehose_20150804.PutRecordBatch" => Some(Action::PutRecordBatch),
            "Kinesis_20131202.DescribeLimits" => Some(Action::DescribeLimits),
            "Kinesis_20131202.DescribeStreamSummary" => Some(Action::DescribeStreamSummary),
            "Kinesis_20131202.ListShards" => Some(Action::ListShards),
            "Kinesis_20131202.PutRecords" => Some(Action::PutRecords),
            _ => None,
        }
    }

    /// The service in the scope of a signature.
    pub(crate) fn service(self) -> &'static str {
        let (service, _) = self.permission().split_once(':').expect("a permission is a service and a name");
        service
    }

    /// Whether it stores records.
    pub(crate) fn is_put(self) -> bool {
        matches!(self, Action::PutRecordBatch | Action::PutRecords)
    }
}
