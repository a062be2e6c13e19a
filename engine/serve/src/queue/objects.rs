//! Reads the objects that messages name.

use std::error::Error;
use std::io;

use pixel_engine_aws::s3::Buckets;
use pixel_engine_aws::sqs::NewObject;
use pixel_engine_core::config::S3Uri;
use pixel_engine_core::deliver::{DeliverError, Failure};
use pixel_engine_core::source::{Closed, Completion, Feed, Inlet, Input, Reached};
use tokio::sync::oneshot;

use super::QueueCounts;

/// An object to be read, and who wants to know what became of it. It is dropped when it is not
/// read.
pub(super) struct Job {
    pub(super) object: NewObject,
    pub(super) told: oneshot::Sender<Read>,
}

/// What became of an object.
#[derive(Debug)]
pub(super) enum Read {
    /// All that can be had of it was handed over, and is safe once these say so.
    HandedOver(Vec<Completion>),
    /// It is not there any more.
    Gone,
    /// It may not be read, or not now.
    Refused(String),
}

/// Reads an object. What it is told is dropped when the run is stopped first.
pub(super) fn read(job: Job, feed: Feed<'_>, buckets: &Buckets, counts: &QueueCounts) -> Result<(), Closed> {
    let Job { object, told } = job;
    let uri = S3Uri::new(object.bucket.as_str(), object.key.as_str());
    if let Some(read) = read_object(&uri, &object, feed, buckets, counts)? {
        if !matches!(read, Read::Refused(_)) {
            counts.not_refused();
        }
        // Nobody waits any more when the process is ending.
        let _ = told.send(read);
    }
    Ok(())
}

fn read_object(
    uri: &S3Uri,
    object: &NewObject,
    feed: Feed<'_>,
    buckets: &Buckets,
    counts: &QueueCounts,
) -> Result<Option<Read>, Closed> {
    let found = match buckets.object(uri, object.size, object.etag.clone()) {
        Ok(found) => found,
        Err(error) => return Ok(Some(unread(uri, &error, counts))),
    };
    let mut inlet = feed.open(uri.to_string());
    let damaged = |inlet: Inlet<'_>, why: String| {
        let name = format!("{uri}: ");
        let why = why.strip_prefix(&name).unwrap_or(&why);
        tracing::error!("{uri}: {why}; what could be read is delivered, and its notification is in the quarantine");
        counts.objects_failed.add("damaged");
        Ok(Some(Read::HandedOver(vec![inlet.end()?, feed.unreadable(uri.to_string(), object.json.as_bytes(), why)?])))
    };
    match inlet.read_input(&Input::Object(found))? {
        Reached::End => {
            counts.objects_read.add(1);
            Ok(Some(Read::HandedOver(vec![inlet.end()?])))
        }
        Reached::Nothing(error) => damaged(inlet, error.to_string()),
        Reached::Break(error) => match request_error(&error.error) {
            None => damaged(inlet, error.to_string()),
            Some(failed) if error.offset > 0 && is_gone(failed) => damaged(inlet, error.to_string()),
            Some(failed) => {
                let read = unread(uri, failed, counts);
                // It is read again as another.
                inlet.end()?;
                Ok(Some(read))
            }
        },
        // Stopped.
        _ => Ok(None),
    }
}

/// What it means that a request for the object has failed.
fn unread(uri: &S3Uri, error: &DeliverError, counts: &QueueCounts) -> Read {
    counts.objects_failed.add(failure(error).map_or("GivenUp", Failure::code));
    if is_gone(error) {
        tracing::warn!("{uri}: {error}; its lines are lost if nothing else has read them");
        return Read::Gone;
    }
    let reason = format!("{uri}: {error}");
    counts.refused(reason.clone());
    Read::Refused(reason)
}

/// Whether that content is there no more: a new one has a notification of its own.
fn is_gone(error: &DeliverError) -> bool {
    failure(error).is_some_and(|failure| matches!(failure.code(), "NoSuchKey" | "PreconditionFailed"))
}

fn failure(error: &DeliverError) -> Option<&Failure> {
    match error {
        DeliverError::Refused(failure) | DeliverError::GivenUp { failure, .. } => Some(failure),
        _ => None,
    }
}

/// The error of a request that is behind an error of reading; `None` when it is about the content.
fn request_error(error: &io::Error) -> Option<&DeliverError> {
    let mut next: Option<&(dyn Error + 'static)> = error.get_ref().map(|error| error as _);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
