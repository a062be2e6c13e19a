//! Fills containers: many lines in one record.

pub mod kpl;
pub mod md5;
