//! One request: what was accepted is settled, what was refused is given back.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::places::{Places, counted_for_rate};
use super::shared::Shared;
use super::{Answer, Class, Failure, Service};
use crate::record::Record;

/// What a reply refuses.
#[derive(Default)]
pub(super) struct Refused {
    /// Records to be sent again.
    pub(super) for_now: Vec<Record>,
    /// Why the first of them failed.
    pub(super) failure: Option<Failure>,
    /// Records that will never be accepted, and why the first of them is not.
    pub(super) for_good: Option<(Vec<Record>, Failure)>,
}

impl<S: Service> Shared<S> {
    /// Sends a request and settles the records that were accepted. Gives all of them back when the
    /// request failed as a whole.
    pub(super) async fn send(&self, records: Vec<Record>, is_retry: bool) -> Result<Refused, (Vec<Record>, Failure)> {
        let places = self.places();
        let body = self.service.body(&records);
        let bytes = body.len() as u64;
        let begun = Instant::now();
        self.pace.sent(self.costs(&records), begun);
        let reply = tokio::select! {
            reply = self.service.put(body) => reply,
            () = self.ending.out_of_grace() => {
                Err(Failure::timeout("stopped before there was a reply").with_arrival_in_doubt(true))
            }
        };
        self.counts.sent(bytes, begun.elapsed(), is_retry);
        let reply = reply.and_then(|answers| match answers.len() {
            found if found == records.len() => Ok(answers),
            found => Err(Failure::malformed_reply(format!("{found} results for {} records", records.len()))),
        });
        match reply {
            Ok(answers) => Ok(self.settle(records, answers, &places, begun).await),
            Err(failure) => {
                self.request_failed(&records, &failure, &places, begun);
                Err((records, failure))
            }
        }
    }

    async fn settle(&self, records: Vec<Record>, answers: Vec<Answer>, places: &Places, sent_at: Instant) -> Refused {
        let count = records.len();
        let mut refused = Refused::default();
        let mut misplaced = Vec::new();
        let outcome = |(record, answer): (&Record, &Answer)| {
            let is_about_rate = answer.as_ref().err().is_none_or(|failure| failure.class() == Class::Throttled);
            is_about_rate.then(|| (places.bucket(record), counted_for_rate(record), answer.is_ok()))
        };
        self.pace.replied(records.iter().zip(&answers).filter_map(outcome), sent_at);
        for (record, answer) in records.into_iter().zip(answers) {
            let failure = match answer {
                Ok(shard) => {
                    match shard {
                        Some(shard) if self.keys_choose_shard && places.is_other_shard(&record, &shard) => {
                            misplaced.push((record, shard));
                        }
                        _ => self.counts.settle(record),
                    }
                    continue;
                }
                Err(failure) => failure,
            };
            self.counts.record_failed(&failure);
            match failure.class() {
                // A record that is too large by itself has no halves.
                Class::Permanent | Class::TooLarge => {
                    refused.for_good.get_or_insert((Vec::new(), failure)).0.push(record);
                    continue;
                }
                Class::Throttled | Class::Transient => {}
            }
            refused.for_now.push(record);
            refused.failure.get_or_insert(failure);
        }
        if !misplaced.is_empty() {
            self.settle_misplaced(misplaced).await;
        }
        if let Some(failure) = &refused.failure {
            self.warn(&format!("{} of {count} records failed: {failure}", refused.for_now.len()), failure);
        }
        refused
    }

    /// Settles records that another shard took than the map said.
    ///
    /// After a reshard, an aggregate is whole in the shard that it came to, since all of its hash
    /// keys are one: nothing is sent again, and the next records should go by the shards as they
    /// are now. But when the stream has begun to ignore keys, consumers drop such aggregates: then
    /// the delivery ends, and these records do not count.
    async fn settle_misplaced(&self, records: Vec<(Record, String)>) {
        // A delivery that began without a map did not expect any shard.
        if self.places().has_map() {
            self.counts.in_other_shard(records.len());
        }
        match self.service.refresh_shards().await {
            Ok(true) => {
                self.counts.map_refreshed();
                self.pace.set_buckets(self.places().buckets());
            }
            Ok(false) => {}
            Err(failure) => tracing::warn!("{}: the map of shards is out of date: {failure}", self.stream),
        }
        let places = self.places();
        if self.aggregates && records.iter().any(|(record, shard)| places.is_other_shard(record, shard)) {
            match self.service.describe().await {
                Ok(Some(description)) => {
                    if let Err(error) = description.verify(true, 0) {
                        self.ending.fail(error);
                        return;
                    }
                }
                Ok(None) => {}
                Err(failure) => {
                    tracing::warn!("{}: not known whether it still goes by keys: {failure}", self.stream);
                }
            }
        }
        records.into_iter().for_each(|(record, _)| self.counts.settle(record));
    }

    fn request_failed(&self, records: &[Record], failure: &Failure, places: &Places, sent_at: Instant) {
        if failure.class() == Class::Throttled {
            let refused = records.iter().map(|record| (places.bucket(record), counted_for_rate(record), false));
            self.pace.replied(refused, sent_at);
        }
        self.counts.request_failed(failure, records.len());
        self.warn(&format!("a request with {} records failed: {failure}", records.len()), failure);
    }

    /// Halves of a request that was too large; the next ones are smaller.
    pub(super) fn halve(&self, mut records: Vec<Record>) -> (Vec<Record>, Vec<Record>) {
        let size = self.counted.size_of(&records);
        let smaller = size - size / 4;
        let before = self.request_size.fetch_min(smaller, Ordering::Relaxed);
        if smaller < before {
            tracing::warn!("{}: requests of {size} bytes are too large; from now on at most {smaller}", self.stream);
        }
        let second = records.split_off(records.len() / 2);
        (records, second)
    }
}
