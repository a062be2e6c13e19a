//! The calls that the server understands.

/// A call of one of the services.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Action {
    /// Security Token Service.
    AssumeRole,
    /// Simple Storage Service.
    AbortMultipartUpload,
    /// Simple Storage Service.
    CompleteMultipartUpload,
    /// Simple Storage Service.
    CreateMultipartUpload,
    /// Simple Storage Service.
    DeleteObjects,
    /// Simple Storage Service.
    GetObject,
    /// Simple Storage Service.
    HeadBucket,
    /// Simple Storage Service.
    HeadObject,
    /// Simple Storage Service.
    ListObjectsV2,
    /// Simple Storage Service.
    PutObject,
    /// Simple Storage Service.
    UploadPart,
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
    /// Simple Queue Service.
    ChangeMessageVisibility,
    /// Simple Queue Service.
    DeleteMessage,
    /// Simple Queue Service.
    GetQueueAttributes,
    /// Simple Queue Service.
    ReceiveMessage,
}

impl Action {
    /// The action's name in a policy, such as `firehose:PutRecordBatch`; for S3, whose permissions are
    /// fewer than its actions, with the name of the action.
    pub fn permission(self) -> &'static str {
        match self {
            Action::AssumeRole => "sts:AssumeRole",
            Action::AbortMultipartUpload => "s3:AbortMultipartUpload",
            Action::CompleteMultipartUpload => "s3:CompleteMultipartUpload",
            Action::CreateMultipartUpload => "s3:CreateMultipartUpload",
            Action::DeleteObjects => "s3:DeleteObjects",
            Action::GetObject => "s3:GetObject",
            Action::HeadBucket => "s3:HeadBucket",
            Action::HeadObject => "s3:HeadObject",
            Action::ListObjectsV2 => "s3:ListObjectsV2",
            Action::PutObject => "s3:PutObject",
            Action::UploadPart => "s3:UploadPart",
            Action::DescribeDeliveryStream => "firehose:DescribeDeliveryStream",
            Action::DescribeLimits => "kinesis:DescribeLimits",
            Action::DescribeStreamSummary => "kinesis:DescribeStreamSummary",
            Action::GetCallerIdentity => "sts:GetCallerIdentity",
            Action::ListShards => "kinesis:ListShards",
            Action::PutRecordBatch => "firehose:PutRecordBatch",
            Action::PutRecords => "kinesis:PutRecords",
            Action::ChangeMessageVisibility => "sqs:ChangeMessageVisibility",
            Action::DeleteMessage => "sqs:DeleteMessage",
            Action::GetQueueAttributes => "sqs:GetQueueAttributes",
            Action::ReceiveMessage => "sqs:ReceiveMessage",
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
            "AmazonSQS.ChangeMessageVisibility" => Some(Action::ChangeMessageVisibility),
            "AmazonSQS.DeleteMessage" => Some(Action::DeleteMessage),
            "AmazonSQS.GetQueueAttributes" => Some(Action::GetQueueAttributes),
            "AmazonSQS.ReceiveMessage" => Some(Action::ReceiveMessage),
            _ => None,
        }
    }

    /// The service in the scope of a signature.
    pub(crate) fn service(self) -> &'static str {
        let (service, _) = self.permission().split_once(':').expect("a permission is a service and a name");
        service
    }

    /// Whether it carries records or objects.
    pub(crate) fn carries_data(self) -> bool {
        matches!(
            self,
            Action::PutRecordBatch
                | Action::PutRecords
                | Action::PutObject
                | Action::CreateMultipartUpload
                | Action::UploadPart
                | Action::CompleteMultipartUpload
                | Action::DeleteObjects
                | Action::GetObject
        )
    }
}
