//! Fills containers: many lines in one record.

pub mod md5;
