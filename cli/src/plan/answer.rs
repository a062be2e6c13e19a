//! What a plan comes down to, in sentences.

use pixel_engine::plan::Plan;
use pixel_engine::plan::answer::{AWS_SAMPLE, Answer, Cheapest, Needs, Undecided};
use pixel_engine::plan::designs::Way;

use super::table::{amount, cores, counted, letters, short, times, with_mode};

/// The cheapest design, what it saves, and what it needs.
pub(super) fn headline(plan: &Plan) -> String {
    let Some(cheapest) = &plan.answer.cheapest else {
        let region = &plan.setup.prices.region;
        return format!("not known in {region}, because no design into S3 has all its prices");
    };
    let saving = match &cheapest.saving {
        _ if cheapest.design == AWS_SAMPLE => ", which is AWS's sample".to_owned(),
        Some(saving) => format!(", {} below AWS's sample", percent(saving.share)),
        None => String::new(),
    };
    format!("{} ({}){saving}: {}", named(cheapest.design), cheapest.design, needs(&cheapest.needs))
}

/// What it rests on, and what could change it.
pub(super) fn details(plan: &Plan) -> Vec<String> {
    let Answer { cheapest, undecided, .. } = &plan.answer;
    let mut details: Vec<String> = cheapest.iter().map(|cheapest| of_cheapest(plan, cheapest)).collect();
    let currency = &plan.setup.prices.currency;
    let mut rest = Vec::new();
    for design in undecided {
        match (design.cheapest_below, &design.missing[..]) {
            (Some(price), [item]) => details.push(format!(
                "{} ({}) would be cheaper if {item}, which has no price, were below {price:.4} {currency}.",
                named(design.design),
                design.design
            )),
            _ => rest.push(design),
        }
    }
    if !rest.is_empty() {
        details.push(incomparable(plan, &rest));
    }
    details
}

fn of_cheapest(plan: &Plan, cheapest: &Cheapest) -> String {
    let currency = &plan.setup.prices.currency;
    let sample = format!("{AWS_SAMPLE}, {}, a line a record", named(AWS_SAMPLE));
    let mut text = format!("It costs {} {currency} a month", amount(cheapest.total));
    text += &match &cheapest.saving {
        _ if cheapest.design == AWS_SAMPLE => "; packing lines saves nothing here.".to_owned(),
        Some(saving) => format!(", the sample of AWS's tracking-pixel post ({sample}) {}.", amount(saving.total)),
        None => format!("; what the sample of AWS's tracking-pixel post ({sample}) costs is not known."),
    };
    let Needs { direct_put_quotas, memory, .. } = cheapest.needs;
    if let Some(memory) = memory {
        text += &format!(" It needs {}B of memory", short(memory));
        if let Some(share) = direct_put_quotas.filter(|&share| share > 1.0) {
            text += &format!(" and {} the Direct PUT quota, which AWS raises on request", times(share));
        }
        text += ".";
    }
    let letters: Vec<String> = letters(plan, &cheapest.caveats).chars().map(String::from).collect();
    if !letters.is_empty() {
        text += &format!(" Unsettled about the two: {} (see below).", letters.join(", "));
    }
    text
}

/// Designs that lack so much that nothing can be said of them.
fn incomparable(plan: &Plan, designs: &[&Undecided]) -> String {
    let ids: Vec<&str> = designs.iter().map(|design| design.design.id()).collect();
    let mut missing: Vec<_> = designs.iter().flat_map(|design| &design.missing).collect();
    missing.sort();
    missing.dedup();
    let missing: Vec<String> = missing.into_iter().map(ToString::to_string).collect();
    format!(
        "Not compared: {}. No price in {} for {}. `plan --print-prices` has the form: add what is missing and give it \
        with --prices.",
        ids.join(", "),
        plan.setup.prices.region,
        missing.join(", ")
    )
}

fn needs(needs: &Needs) -> String {
    let mut parts = Vec::new();
    let shards: Vec<String> = needs.shards.iter().map(|&shards| short(shards)).collect();
    match &shards[..] {
        [] => {}
        [one] if one == "1" => parts.push("1 shard".to_owned()),
        _ => parts.push(format!("{} shards", shards.join("+"))),
    }
    match needs.on_demand_streams {
        0 => {}
        1 => parts.push("an on-demand stream".to_owned()),
        streams => parts.push(format!("{streams} on-demand streams")),
    }
    if needs.lambda {
        parts.push("a Lambda function".to_owned());
    }
    if needs.producers > 0 {
        parts.push(counted(needs.producers, "producer"));
    }
    parts.extend(needs.cores.map(|used| format!("{} cores", cores(used))));
    parts.join(", ")
}

/// The name of a way that stands alone: that of design 2 continues design 1's in a table.
fn named(way: Way) -> String {
    let before = if matches!(way, Way::Repacked(..)) { "Kinesis > Firehose" } else { "" };
    format!("{before}{}", with_mode(way))
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        percent @ ..0.5 => format!("{percent:.1} %"),
        percent => format!("{percent:.0} %"),
    }
}
