//! A child of the MultiLangDaemon of the Kinesis Client Library.
