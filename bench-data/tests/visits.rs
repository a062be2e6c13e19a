//! The truth of a log of visits against a reader that knows nothing of how the log was made.
//!
//! The reader splits lines and queries, keeps everything in maps, and counts what the definitions
//! of [`Truth`] say.

// Everything here is a test, but clippy knows only functions marked `#[test]` as such.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use percent_encoding::percent_decode;
use pixel_engine_bench_data::visits::{
    Abnormalities, EVENT_NAMES, FUNNEL, Kind, Options, SESSION_GAP_MILLIS, Truth, Visits,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// More of everything than a real log has, so that a small one has some of it.
const MUCH: Abnormalities = Abnormalities {
    failures: 200,
    unknown_names: 100,
    missing_ids: 100,
    doubled: 150,
    broken_escapes: 100,
    invalid_utf8: 100,
    long_queries: 50,
    unreadable: 100,
    without_query: 300,
    punctual: 300,
    bursts: 100,
};

fn options(shape: &str, seed: u64) -> Options {
    Options {
        visitors: 1_500,
        bots: 1_500,
        data_centres: 1_000,
        abnormal: MUCH,
        ..Options::new(shape.parse().unwrap(), seed)
    }
}

fn generate(options: &Options) -> (String, Truth) {
    let mut visits = Visits::new(options.clone());
    let mut log = Vec::new();
    while visits.append_line(&mut log) {}
    assert!(!visits.append_line(&mut log));
    (String::from_utf8(log).unwrap(), visits.truth())
}

/// The columns of each line by name, in the order of the log; `None` for a line that cannot be
/// read.
fn read<'a>(log: &'a str, options: &Options) -> Vec<Option<HashMap<String, String>>> {
    let schema = options.shape.schema();
    let names: Vec<String> = schema.columns().iter().map(|column| column.name().to_owned()).collect();
    let read_line = |line: &'a str| {
        if line.starts_with('{') {
            let object: HashMap<String, String> = serde_json::from_str(line).unwrap();
            let renamed = object.into_iter().map(|(name, value)| (plain_name(&name), value));
            return Some(renamed.collect::<HashMap<_, _>>()).filter(|columns| columns.len() == names.len());
        }
        let values: Vec<&str> = line.split('\t').collect();
        (values.len() == names.len())
            .then(|| names.iter().cloned().zip(values.into_iter().map(str::to_owned)).collect())
    };
    log.lines().map(read_line).collect()
}

/// `cs(User-Agent)` is `cs-user-agent`, as the engine names it.
fn plain_name(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    if name == "timestamp(ms)" { name } else { name.replace('(', "-").replace(')', "") }
}

fn decode(text: &str) -> Vec<u8> {
    percent_decode(text.as_bytes()).collect()
}

fn text(text: &str) -> String {
    String::from_utf8(decode(text)).unwrap()
}

/// Parameters with their values as bytes.
fn parameters(query: &str) -> HashMap<String, Vec<u8>> {
    let sent = text(query);
    sent.split('&')
        .map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap();
            (name.to_owned(), decode(value))
        })
        .collect()
}

fn millis(columns: &HashMap<String, String>) -> u64 {
    if let Some(seconds) = columns.get("timestamp") {
        return seconds.replace('.', "").parse().unwrap();
    }
    if let Some(millis) = columns.get("timestamp(ms)") {
        return millis.parse().unwrap();
    }
    let time: jiff::Timestamp = format!("{}T{}Z", columns["date"], columns["time"]).parse().unwrap();
    time.as_millisecond() as u64
}

fn is_bot(agent: &str) -> bool {
    let markers = ["bot", "headless", "requests", "curl", "facebookexternalhit", "go-http", "wget"];
    markers.iter().any(|marker| agent.to_lowercase().contains(marker))
}

fn is_data_centre(address: &str) -> bool {
    match address.parse::<IpAddr>().unwrap() {
        IpAddr::V4(address) => address.octets()[0] >= 248,
        IpAddr::V6(address) => address.segments()[..3] == [0x2001, 0xdb8, 0xdc],
    }
}

fn host(url: &str) -> String {
    url.split("://").nth(1).unwrap().split('/').next().unwrap().to_owned()
}

type Counts = BTreeMap<String, (u64, u64)>;

fn add(counts: &mut Counts, key: impl ToString, is_bot: bool) {
    let count = counts.entry(key.to_string()).or_default();
    count.0 += 1;
    count.1 += u64::from(is_bot);
}

fn counts(counts: &Counts) -> Value {
    counts.iter().map(|(key, (all, bots))| (key.clone(), json!({ "all": all, "bots": bots }))).collect()
}

/// One of the counts alone, or none of it.
fn count(counts: &Counts, key: &str) -> Value {
    let (all, bots) = counts.get(key).copied().unwrap_or_default();
    json!({ "all": all, "bots": bots })
}

/// An event, as far as its visitor's sessions go.
struct Seen {
    millis: u64,
    name: String,
    is_bot: bool,
}

/// The truth of a log by its lines alone. Keys whose columns the log does not have are left out.
fn recount(log: &str, options: &Options) -> Value {
    let mut lines = 0_u64;
    let mut abnormal: BTreeMap<&str, u64> = BTreeMap::new();
    let names = "failures unknown_names without_query missing_ids doubled broken_escapes invalid_utf8 long_queries \
                 bursts burst_events unreadable";
    for name in names.split_whitespace() {
        abnormal.insert(name, 0);
    }
    let [mut hours, mut days, mut by_name, mut countries, mut edges, mut statuses, mut pages, mut referrers, mut other] =
        [const { Counts::new() }; 9];
    let mut campaigns: BTreeMap<[String; 3], (u64, u64)> = BTreeMap::new();
    let mut agents: BTreeMap<String, u64> = BTreeMap::new();
    let mut bots: BTreeMap<String, u64> = BTreeMap::new();
    let mut visitors: HashMap<String, Vec<Seen>> = HashMap::new();
    let mut ids = HashSet::new();
    let mut placements: BTreeMap<(String, String), [[u64; 5]; 4]> = BTreeMap::new();
    let mut fired = HashSet::new();
    let mut lines_seen = HashSet::new();
    let (mut orders, mut revenue, mut bytes) = (0_u64, 0_u64, 0_u64);
    let mut taken = Vec::new();
    for (line, columns) in log.lines().zip(read(log, options)) {
        lines += 1;
        let Some(columns) = columns else {
            *abnormal.get_mut("unreadable").unwrap() += 1;
            continue;
        };
        let mut wrong = |name: &str, is_wrong: bool| *abnormal.get_mut(name).unwrap() += u64::from(is_wrong);
        let has_id = columns.get("x-edge-request-id").is_some_and(|id| id != "-");
        if !lines_seen.insert(line) {
            wrong("doubled", true);
            continue;
        }
        if let Some(id) = columns.get("x-edge-request-id") {
            wrong("missing_ids", !has_id);
            assert!(!has_id || ids.insert(id.clone()), "{id} is there twice");
        }
        let agent = columns["cs-user-agent"].as_str();
        let agent = if options.shape.to_string() == "standard" { text(&text(agent)) } else { text(agent) };
        let is_bot = is_bot(&agent);
        *agents.entry(agent.clone()).or_default() += 1;
        if is_bot {
            *bots.entry(agent.clone()).or_default() += 1;
        }
        let millis = millis(&columns);
        add(&mut hours, millis / 3_600_000 * 3600, is_bot);
        add(&mut days, millis / 86_400_000 * 86_400, is_bot);
        add(&mut other, "events", is_bot);
        if let Some(status) = columns.get("sc-status") {
            add(&mut statuses, status, is_bot);
            wrong("failures", status == "000" || status.parse::<u16>().unwrap() >= 400);
            add(&mut edges, &columns["x-edge-location"], is_bot);
            bytes += columns["sc-bytes"].parse::<u64>().unwrap();
            taken.push(columns["time-taken"].replace('.', "").parse::<u64>().unwrap());
        }
        if let Some(country) = columns.get("c-country") {
            add(&mut countries, country, is_bot);
        }
        let query = columns["cs-uri-query"].as_str();
        if let Some(stem) = columns.get("cs-uri-stem")
            && options.shape.to_string().starts_with("realtime")
        {
            assert_eq!(stem.split_once('?').map_or("-", |(_, query)| query), query);
        }
        wrong("long_queries", query.len() > 800);
        let address = &columns["c-ip"];
        let key = format!("{address} {agent}");
        let seen = |name: &str| Seen { millis, name: name.to_owned(), is_bot };
        if query == "-" {
            wrong("without_query", true);
            visitors.entry(key).or_default().push(seen(""));
            continue;
        }
        let sent = text(query);
        let is_hex = |escape: &[u8]| escape.len() > 1 && escape[..2].iter().all(u8::is_ascii_hexdigit);
        let is_broken = sent.as_bytes().split(|&byte| byte == b'%').skip(1).any(|escape| !is_hex(escape));
        wrong("broken_escapes", is_broken);
        let parameters = parameters(query);
        wrong("invalid_utf8", parameters.values().any(|value| std::str::from_utf8(value).is_err()));
        let parameter = |name: &str| String::from_utf8(parameters[name].clone()).unwrap();
        let name = parameter("e");
        assert_eq!(parameters.contains_key("uid"), options.has_ids);
        let key = if options.has_ids { parameter("uid") } else { key };
        visitors.entry(key).or_default().push(seen(&name));
        add(&mut by_name, &name, is_bot);
        wrong("unknown_names", !EVENT_NAMES.contains(&name.as_str()));
        match name.as_str() {
            "view" => {
                let (url, from) = (parameter("url"), parameter("ref"));
                add(&mut pages, url.split("://").nth(1).unwrap().split('?').next().unwrap(), is_bot);
                if from.is_empty() {
                    add(&mut other, "direct", is_bot);
                } else if host(&from) == host(&url) {
                    add(&mut other, "self", is_bot);
                } else {
                    add(&mut referrers, host(&from), is_bot);
                }
                if parameters.contains_key("utm_source") {
                    let count =
                        campaigns.entry(["utm_source", "utm_medium", "utm_campaign"].map(parameter)).or_default();
                    count.0 += 1;
                    count.1 += u64::from(is_bot);
                }
            }
            "paid" if !is_bot => {
                orders += 1;
                revenue += parameter("value").replace('.', "").parse::<u64>().unwrap();
            }
            "impression" | "viewable" | "click" | "conversion" => {
                let placement = placements.entry((parameter("campaign"), parameter("publisher"))).or_default();
                let step = EVENT_NAMES.iter().position(|&other| other == name).unwrap() - 4;
                let is_new = fired.insert((name, parameter("iid")));
                let reason = if is_bot {
                    1
                } else if is_data_centre(address) {
                    2
                } else if !is_new {
                    3
                } else {
                    4
                };
                placement[step][0] += 1;
                placement[step][reason] += 1;
            }
            _ => {}
        }
    }
    let mut steps = [[0_u64; 2]; 4];
    for events in visitors.values_mut() {
        // Stable: in standard logs, several are in one second, and stay in the order of the log.
        events.sort_by_key(|event| event.millis);
        let is_bot = events[0].is_bot;
        add(&mut other, "visitors", is_bot);
        let mut by_minute: HashMap<u64, u64> = HashMap::new();
        let (mut last, mut step, mut best) = (None, 0, 0);
        for event in events.iter() {
            assert_eq!(event.is_bot, is_bot);
            *by_minute.entry(event.millis / 60_000).or_default() += 1;
            if last.is_none_or(|last| event.millis - last > SESSION_GAP_MILLIS) {
                add(&mut other, "sessions", is_bot);
                step = 0;
            }
            last = Some(event.millis);
            if !is_bot && step < 4 && event.name == FUNNEL[step] {
                steps[step][1] += 1;
                step += 1;
                if step > best {
                    steps[best][0] += 1;
                    best = step;
                }
            }
        }
        let bursts = || by_minute.values().filter(|&&count| count > 60);
        *abnormal.get_mut("bursts").unwrap() += bursts().count() as u64;
        *abnormal.get_mut("burst_events").unwrap() += bursts().sum::<u64>();
        // Wherever a minute of so many events begins, it ends in a burst.
        for window in events.windows(61) {
            let is_burst = window[60].millis - window[0].millis < 60_000;
            assert!(!is_burst || by_minute.get(&(window[60].millis / 60_000)).is_some_and(|&count| count > 60));
        }
    }
    let steps = FUNNEL.iter().zip(steps);
    let firings = |[gross, bots, data_centres, duplicates, net]: [u64; 5]| json!({ "gross": gross, "bots": bots, "data_centres": data_centres, "duplicates": duplicates, "net": net });
    let mut truth = json!({
        "lines": lines,
        "events": count(&other, "events"),
        "events_by_hour": counts(&hours),
        "events_by_day": counts(&days),
        "events_by_name": counts(&by_name),
        "agents": agents,
        "bots": bots,
        "visitors": count(&other, "visitors"),
        "sessions": count(&other, "sessions"),
        "pages": counts(&pages),
        "referrers": counts(&referrers),
        "self_referrals": count(&other, "self"),
        "direct_views": count(&other, "direct"),
        "campaigns": campaigns.iter().map(|([source, medium, campaign], (all, bots))| {
            json!({ "source": source, "medium": medium, "campaign": campaign, "views": { "all": all, "bots": bots } })
        }).collect::<Vec<_>>(),
        "funnel": steps.map(|(event, [visitors, sessions])| {
            json!({ "event": event, "visitors": visitors, "sessions": sessions })
        }).collect::<Vec<_>>(),
        "orders": orders,
        "revenue_cents": revenue,
        "advertisements": placements.iter().map(|((campaign, publisher), steps)| json!({
            "campaign": campaign,
            "publisher": publisher,
            "impressions": firings(steps[0]),
            "viewable": firings(steps[1]),
            "clicks": firings(steps[2]),
            "conversions": firings(steps[3]),
        })).collect::<Vec<_>>(),
        "abnormal": abnormal,
    });
    if !countries.is_empty() {
        truth["countries"] = counts(&countries);
    }
    if !taken.is_empty() {
        truth["statuses"] = counts(&statuses);
        truth["edge_locations"] = counts(&edges);
        truth["bytes"] = bytes.into();
        truth["time_taken"] = json!({
            "min_millis": taken.iter().min(),
            "max_millis": taken.iter().max(),
            "sum_millis": taken.iter().sum::<u64>(),
        });
    }
    truth
}

/// The truth as JSON, its lists in the order of their names.
fn sorted(truth: &Truth) -> Value {
    let mut truth = serde_json::to_value(truth).unwrap();
    for (list, keys) in
        [("campaigns", &["source", "medium", "campaign"][..]), ("advertisements", &["campaign", "publisher"])]
    {
        let key = |item: &Value| keys.iter().map(|&key| item[key].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        truth[list].as_array_mut().unwrap().sort_by_key(key);
    }
    truth
}

fn assert_is_true(options: &Options) {
    let (log, truth) = generate(options);
    assert_is_true_of(options, &log, &truth);
}

fn assert_is_true_of(options: &Options, log: &str, truth: &Truth) {
    let truth = sorted(truth);
    for (key, counted) in recount(log, options).as_object().unwrap() {
        // A log of 4 columns has no ids and no statuses in which something could be wrong.
        if key == "abnormal" {
            for (name, count) in counted.as_object().unwrap() {
                if options.shape.to_string() != "pixel-4" || !["failures", "missing_ids"].contains(&name.as_str()) {
                    assert_eq!(&truth[key][name], count, "{} {:?} {name}", options.shape, options.kind);
                }
            }
        } else {
            assert_eq!(&truth[key], counted, "{} {:?} {key}", options.shape, options.kind);
        }
    }
}

#[test]
fn the_truth_is_what_a_reader_of_the_log_counts_in_every_shape() {
    for shape in ["realtime-46", "realtime-71", "realtime-40", "pixel-4", "standard", "standard-json"] {
        for has_ids in [true, false] {
            assert_is_true(&Options { has_ids, ..options(shape, 3) });
        }
    }
}

#[test]
fn the_truth_is_what_a_reader_of_the_log_counts_of_every_kind() {
    for kind in [Kind::Site, Kind::Shop, Kind::Ad, Kind::Mix] {
        for seed in [1, 2] {
            assert_is_true(&Options { kind, days: 4, surge: true, ..options("realtime-46", seed) });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_truth_is_what_a_reader_of_any_beginning_of_any_log_counts(
        seed: u64,
        start_millis in 1_600_000_000_000_u64..1_900_000_000_000,
        days in 1_u32..6,
        visitors in 0_u64..300,
        has_ids: bool,
        shares in (0_u32..3_000, 0_u32..3_000),
        kind in prop::sample::select(vec![Kind::Site, Kind::Shop, Kind::Ad, Kind::Mix]),
        shape in prop::sample::select(vec!["realtime-46", "pixel-4", "standard", "standard-json"]),
        lines in prop::option::of(0_u64..1_500),
    ) {
        let (bots, data_centres) = shares;
        let options = Options {
            start_millis, days, visitors, has_ids, bots, data_centres, kind, ..options(shape, seed)
        };
        let mut visits = Visits::new(options.clone());
        let mut log = Vec::new();
        let mut left = lines.unwrap_or(u64::MAX);
        while left > 0 && visits.append_line(&mut log) {
            left -= 1;
        }
        assert_is_true_of(&options, std::str::from_utf8(&log).unwrap(), &visits.truth());
    }
}

#[test]
fn a_small_log_has_some_of_everything() {
    let (_, truth) = generate(&Options { visitors: 4_000, ..options("realtime-46", 1) });
    let truth = serde_json::to_value(&truth).unwrap();
    for (name, count) in truth["abnormal"].as_object().unwrap() {
        assert!(count.as_u64().unwrap() > 0, "{name}");
    }
    for name in EVENT_NAMES {
        assert!(truth["events_by_name"][name]["all"].as_u64().unwrap() > 0, "{name}");
    }
    let visitors: Vec<u64> = (0..4).map(|step| truth["funnel"][step]["visitors"].as_u64().unwrap()).collect();
    assert!(visitors.windows(2).all(|pair| pair[0] > pair[1]) && visitors[3] > 0, "{visitors:?}");
    // Orders that skipped a step are orders, but not of the funnel.
    assert!(truth["orders"].as_u64() > truth["funnel"][3]["sessions"].as_u64());
    assert_eq!(truth["bots"].as_object().unwrap().len(), 16);
    let firings = |reason: &str| {
        let placements = truth["advertisements"].as_array().unwrap();
        placements.iter().map(|placement| placement["impressions"][reason].as_u64().unwrap()).sum::<u64>()
    };
    assert!(["bots", "data_centres", "duplicates", "net"].into_iter().all(|reason| firings(reason) > 0));
    for list in ["campaigns", "pages", "referrers", "countries", "edge_locations", "statuses"] {
        assert!(truth[list].as_array().map_or_else(|| truth[list].as_object().unwrap().len(), Vec::len) > 5, "{list}");
    }
}

#[test]
fn the_seed_decides_everything() {
    for shape in ["realtime-71", "standard", "standard-json"] {
        let (log, truth) = generate(&options(shape, 8));
        assert!((log.clone(), truth) == generate(&options(shape, 8)));
        assert!(log != generate(&options(shape, 9)).0);
    }
}

#[test]
fn the_same_happens_in_every_shape() {
    let abnormal = Abnormalities { punctual: 0, ..MUCH };
    let truth = |shape| generate(&Options { abnormal: abnormal.clone(), ..options(shape, 5) }).1;
    for shape in ["realtime-71", "pixel-4", "standard", "standard-json"] {
        assert!(truth(shape) == truth("realtime-46"), "{shape}");
    }
}

#[test]
fn a_surge_stands_out_among_the_same_hours_of_other_days() {
    let options = Options { visitors: 20_000, days: 5, surge: true, ..options("pixel-4", 2) };
    let (_, truth) = generate(&options);
    let surge = truth.surge_hour.unwrap();
    assert_eq!(surge, options.start_millis / 1000 + 60 * 3600);
    let events = |hour: u64| truth.events_by_hour[&hour].all;
    assert!([1, 2].into_iter().all(|day| events(surge) > 4 * events(surge - day * 86_400)));
    assert!([1, 2].into_iter().all(|day| events(surge) > 4 * events(surge + day * 86_400)));
    assert_eq!(generate(&Options { surge: false, visitors: 10, ..options }).1.surge_hour, None);
}

/// The pauses between the events of each visitor, in milliseconds.
fn pauses(options: &Options) -> Vec<u64> {
    let mut visitors: HashMap<Vec<u8>, Vec<u64>> = HashMap::new();
    for columns in read(&generate(options).0, options).into_iter().flatten() {
        if columns["cs-uri-query"] != "-" {
            let uid = parameters(&columns["cs-uri-query"])["uid"].clone();
            visitors.entry(uid).or_default().push(millis(&columns));
        }
    }
    visitors.values().flat_map(|times| times.windows(2).map(|pair| pair[1] - pair[0])).collect()
}

#[test]
fn only_punctual_visitors_come_near_the_end_of_a_session() {
    for (shape, tick) in [("realtime-46", 1), ("standard-json", 1), ("standard", 1000)] {
        let minutes = |minutes: u64| minutes * 60_000;
        let clean = Options { abnormal: Abnormalities { punctual: 300, ..Abnormalities::NONE }, ..options(shape, 6) };
        let pauses = pauses(&clean);
        let count = |wanted| pauses.iter().filter(|&&pause| pause == wanted).count();
        assert!(count(SESSION_GAP_MILLIS) > 10 && count(SESSION_GAP_MILLIS + tick) > 10, "{shape}");
        let is_usual = |pause| pause < minutes(27) || pause > minutes(39);
        let near = pauses.iter().filter(|&&pause| !is_usual(pause)).count();
        assert_eq!(near, count(SESSION_GAP_MILLIS) + count(SESSION_GAP_MILLIS + tick), "{shape}");
        assert!(pauses.iter().all(|&pause| pause >= 1_000), "{shape}");
    }
}

#[test]
fn lines_come_in_the_order_of_time_but_for_a_jitter() {
    let options = Options { abnormal: Abnormalities::NONE, visitors: 20_000, ..options("realtime-46", 7) };
    let times: Vec<u64> = read(&generate(&options).0, &options).iter().flatten().map(millis).collect();
    let mut latest = 0;
    let mut late = 0;
    for &time in &times {
        assert!(time + 120 > latest);
        late += usize::from(time < latest);
        latest = latest.max(time);
    }
    assert!(late > 100 && late < times.len() / 4, "{late}");
    let end = options.start_millis + 86_400_000;
    assert!(times.iter().all(|time| (options.start_millis..end).contains(time)));
}

#[test]
fn a_clean_log_has_nothing_wrong_and_every_line_is_an_event() {
    let (log, truth) = generate(&Options { abnormal: Abnormalities::NONE, ..options("standard", 4) });
    assert_eq!(truth.abnormal, Default::default());
    assert_eq!(truth.lines, truth.events.all);
    assert_eq!(truth.lines, log.lines().count() as u64);
    assert!(log.lines().flat_map(|line| line.split('\t')).all(|text| text.bytes().all(|byte| byte.is_ascii_graphic())));
}

#[test]
fn nobody_comes_and_nothing_is_written_but_the_header() {
    let nobody = Options { visitors: 0, ..options("standard", 4) };
    let (log, truth) = generate(&nobody);
    assert_eq!((log.as_str(), truth.lines, truth.visitors.all, truth.time_taken.min_millis), ("", 0, 0, 0));
    let mut header = Vec::new();
    Visits::new(nobody).append_header(&mut header);
    assert!(header.starts_with(b"#Version: 1.0\n#Fields: date time "));
}
