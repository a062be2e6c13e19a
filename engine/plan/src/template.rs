//! The parameters with which `deploy/cloudformation/pixel.yaml` makes a design.
//!
//! They are what `aws cloudformation create-stack --parameters file://...` takes, and version 2 of
//! the AWS CLI also as `deploy --parameter-overrides file://...`: a list of keys and values, all of
//! them text.

use serde::Serialize;

use crate::designs::{Carries, Design, LinesFrom, Mode, Packer, Setup, Way};
use pixel_engine_core::limits::kinesis::DEFAULT_MAX_RECORD_SIZE;
use pixel_engine_core::limits::lambda::MAX_BATCHING_WINDOW;
use pixel_engine_kpl::HashKeys;

/// Shards that AWS::Kinesis::Stream takes.
const MAX_SHARDS: f64 = 100_000.0;

/// A record of the template's streams has its key beside the data.
const MAX_AGGREGATE_SIZE: usize = DEFAULT_MAX_RECORD_SIZE - HashKeys::KEY_LEN;

/// A parameter of the template, spelled as CloudFormation does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct Parameter {
    /// Its name in the template.
    pub parameter_key: &'static str,
    /// Its value.
    pub parameter_value: String,
}

/// Why the template does not make a design.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NotDeployable {
    /// It begins with CloudFront.
    #[error("the template is for lines from CloudFront, and these are from your own programs")]
    Producers,
    /// More than a stream may have.
    #[error("a stream has {MAX_SHARDS} shards at most, and {0} are needed")]
    Shards(f64),
    /// Larger than a record of its stream.
    #[error("the template's streams take aggregates of {MAX_AGGREGATE_SIZE} B, and not of {0} B")]
    AggregateSize(usize),
    /// Longer than Lambda waits.
    #[error("a linger of {0} s is longer than Lambda collects a batch, {max} s", max = MAX_BATCHING_WINDOW.as_secs())]
    Linger(f64),
}

/// The parameters of a design whose aggregates have at most `aggregate_size` bytes; those that it
/// does not need are left out.
///
/// # Errors
/// The template cannot make it.
pub fn parameters(setup: &Setup, design: &Design, aggregate_size: usize) -> Result<Vec<Parameter>, NotDeployable> {
    if setup.lines_from == LinesFrom::Producers {
        return Err(NotDeployable::Producers);
    }
    let mut parameters = Vec::new();
    let mut set = |parameter_key, parameter_value: String| {
        parameters.push(Parameter { parameter_key, parameter_value });
    };
    set("Design", design.way.id().to_owned());
    // Designs 3 to 5 have the costs of the KCL; 1 and 6 have no engine, and 2 names it.
    if matches!(design.way, Way::DirectPut(_) | Way::Aggregates(_)) {
        set("Packer", "kcl".to_owned());
    }
    for stream in &design.streams {
        let shards = stream.shards.needed();
        if stream.mode == Mode::OnDemand {
            continue;
        }
        if shards > MAX_SHARDS {
            return Err(NotDeployable::Shards(shards));
        }
        set(if stream.of == Carries::Lines { "LineShards" } else { "PackedShards" }, shards.to_string());
    }
    if design.streams.iter().any(|stream| stream.of == Carries::Aggregates) {
        if aggregate_size > MAX_AGGREGATE_SIZE {
            return Err(NotDeployable::AggregateSize(aggregate_size));
        }
        set("AggregateSize", aggregate_size.to_string());
    }
    if matches!(design.way, Way::Repacked(Packer::Lambda, _)) {
        if setup.linger > MAX_BATCHING_WINDOW {
            return Err(NotDeployable::Linger(setup.linger.as_secs_f64()));
        }
        set("BatchingWindow", setup.linger.as_secs_f64().ceil().to_string());
    }
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Plan;
    use crate::prices::PriceFile;
    use crate::rate::{Load, Rate};
    use crate::workload::Workload;

    fn of(id: &str, rate: f64, change: impl FnOnce(&mut Setup)) -> Result<Vec<(&'static str, String)>, NotDeployable> {
        let load = Load::new(Rate::per_second(rate).unwrap(), 2.0).unwrap();
        let mut setup = Setup::new(load, PriceFile::built_in().region("us-east-1").unwrap());
        change(&mut setup);
        let plan = Plan::new(Workload::stated(800), setup);
        let design = plan.designs.iter().find(|design| design.way.id() == id).unwrap();
        let parameters = parameters(&plan.setup, design, 51_200)?;
        Ok(parameters.into_iter().map(|it| (it.parameter_key, it.parameter_value)).collect())
    }

    fn text(parameters: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        parameters.iter().map(|&(key, value)| (key, value.to_owned())).collect()
    }

    #[test]
    fn a_design_is_its_name_and_the_numbers_of_its_parts() {
        let of = |id| of(id, 10_000.0, |_| ()).unwrap();
        assert_eq!(of("1a"), text(&[("Design", "1a"), ("LineShards", "20")]));
        assert_eq!(of("1b"), text(&[("Design", "1b")]));
        let expected = [("LineShards", "20"), ("PackedShards", "16"), ("AggregateSize", "51200")];
        assert_eq!(of("2a")[1..4], text(&expected));
        assert_eq!(of("2a")[4..], text(&[("BatchingWindow", "1")]));
        assert_eq!(of("2d"), text(&[("Design", "2d"), ("AggregateSize", "51200")]));
        assert_eq!(of("3"), text(&[("Design", "3"), ("Packer", "kcl"), ("LineShards", "20")]));
        assert_eq!(of("6"), text(&[("Design", "6")]));
    }

    #[test]
    fn what_cannot_be_made_is_an_error() {
        let producers = |setup: &mut Setup| setup.lines_from = LinesFrom::Producers;
        assert_eq!(of("3", 1.0, producers), Err(NotDeployable::Producers));
        assert!(matches!(of("1a", 60e6, |_| ()), Err(NotDeployable::Shards(_))));
        assert!(of("1b", 60e6, |_| ()).is_ok(), "an on-demand stream has as many as it has");
        let patient = |setup: &mut Setup| setup.linger = Duration::from_secs(301);
        assert_eq!(of("2b", 1.0, patient), Err(NotDeployable::Linger(301.0)));
        assert!(of("2d", 1.0, patient).is_ok(), "the KCL waits as long as it is told");
    }
}
