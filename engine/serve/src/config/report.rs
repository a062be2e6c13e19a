//! `report` of a pipeline: what its live report counts.

use std::fmt;
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use pixel_engine_agents::Agents;
use pixel_engine_core::config::read::duration;

use pixel_engine_report::{
    AdvertisingSettings, AgentReader, Definitions, Networks, Settings, SettingsError, ShopSettings, View,
};
use serde::{Deserialize, Deserializer};
use toml::Spanned;
use toml::de::DeValue;

use super::network::{SourceKey, key};
use super::read::{Name, PIPELINE, Reader, Table};
use super::{Part, PipelineConfig};

/// The key of the table.
pub(super) const REPORT: &str = "report";

/// The keys of a report.
pub const REPORT_KEYS: &[SourceKey] = &[
    key(
        "days",
        "2",
        "how many days are kept, today included, from 1 to 31. Each takes up to 100 MB, and as much again while somebody \
         looks",
    ),
    key("time_zone", "UTC", "the time zone of hours and days: a name such as `Europe/Zurich`, or `system`"),
    key("top", "20, and 100 in `/report.json`", "the most rows of each table"),
    key("event", "query.e,query.event,query.ev", "where the name of an event is"),
    key("page", "query.url,query.u,cs-referer", "where the page is that sent the beacon"),
    key("referrer", "query.ref,query.r", "where that page was reached from"),
    key("visitor", "query.uid,query.user_id", "where an id of the visitor is"),
    key("known_events", "any", "the events that there should be, separated by commas"),
    key("session_gap", "30m", "the longest pause within a session"),
    key("funnel", "none", "steps that visitors take in this order, such as `view > cart > paid`"),
    key("funnel_gap", "the session gap", "the longest time from a step to the next"),
    key("burst", "60", "more beacons than this of one visitor in a minute are abnormal"),
    key("sampling", "100", "the percentage of requests that the log holds"),
    key(
        "salt_file",
        "none",
        "a file with 16 or more secret bytes that visitors are hashed with; without it, the salt is random and lives as \
         long as the report",
    ),
    key("bots", "none", "a file with more bots: a pattern for user agents in each line"),
    key("use", "none", "`ad-tech`, `blog` or `shop`, or a list of them"),
    key("campaign", "query.campaign,query.utm_campaign", "for `ad-tech`: where the campaign is"),
    key("publisher", "query.publisher,query.pub", "for `ad-tech`: where the publisher is"),
    key("impression_id", "query.iid,query.imp", "for `ad-tech`: where the id of the impression is"),
    key("ad_events", "none", "for `ad-tech`: other names of events, such as `impression=imp,click=clk`"),
    key("networks", "none", "for `ad-tech`: a file with the networks of data centres"),
    key(
        "id_window",
        "1000000",
        "for `ad-tech`: how many ids are kept to tell duplicates, each day, up to 58 bytes each",
    ),
    key("product", "query.product,query.item,query.sku", "for `shop`: where the product is"),
    key("value", "query.value", "for `shop`: where the value of an order is"),
    key("currency", "query.currency", "for `shop`: where its currency is"),
    key("shop_events", "none", "for `shop`: other names of events, such as `cart=add,paid=order`"),
];

/// What is counted of a pipeline, and how it is shown.
#[derive(Clone)]
pub struct ReportConfig {
    /// As it was given, with what its files hold.
    settings: Settings,
    /// The same, checked.
    pub definitions: Definitions,
    /// What reads user agents.
    pub agents: Arc<AgentReader>,
    /// How it is shown.
    pub view: View,
    /// How many days are kept.
    pub days: NonZeroU8,
    /// The most rows of a table on the page.
    pub page_rows: usize,
}

/// Whether it counts and shows the same; salts that are random are all the same to it.
impl PartialEq for ReportConfig {
    fn eq(&self, other: &ReportConfig) -> bool {
        (&self.settings, &self.view, self.days, self.page_rows)
            == (&other.settings, &other.view, other.days, other.page_rows)
    }
}

/// Without what its files hold: one of them is a secret.
impl fmt::Debug for ReportConfig {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ReportConfig { definitions, days, .. } = self;
        out.debug_struct("ReportConfig").field("definitions", definitions).field("days", days).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Use {
    AdTech,
    Blog,
    Shop,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "ad-tech, blog or shop, or a list of them")]
enum Uses {
    One(Use),
    Some(Vec<Use>),
}

fn uses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Use>, D::Error> {
    Ok(match Uses::deserialize(deserializer)? {
        Uses::One(only) => vec![only],
        Uses::Some(some) => some,
    })
}

/// A report as it was given.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ReportSettings {
    days: Option<u8>,
    time_zone: Option<String>,
    top: Option<usize>,
    event: Option<String>,
    page: Option<String>,
    referrer: Option<String>,
    visitor: Option<String>,
    known_events: Option<String>,
    #[serde(deserialize_with = "duration")]
    session_gap: Option<Duration>,
    funnel: Option<String>,
    #[serde(deserialize_with = "duration")]
    funnel_gap: Option<Duration>,
    burst: Option<u32>,
    sampling: Option<f64>,
    salt_file: Option<PathBuf>,
    bots: Option<PathBuf>,
    #[serde(rename = "use", deserialize_with = "uses")]
    uses: Vec<Use>,
    campaign: Option<String>,
    publisher: Option<String>,
    impression_id: Option<String>,
    ad_events: Option<String>,
    networks: Option<PathBuf>,
    id_window: Option<u64>,
    product: Option<String>,
    value: Option<String>,
    currency: Option<String>,
    shop_events: Option<String>,
}

/// What is wrong, and with which key.
pub(super) struct ReportError {
    pub(super) key: &'static str,
    pub(super) message: String,
}

fn error(key: &'static str, problem: impl fmt::Display) -> ReportError {
    ReportError { key, message: format!("{key}: {problem}") }
}

impl From<SettingsError> for ReportError {
    fn from(error: SettingsError) -> ReportError {
        // A salt comes from its file.
        let key = error.setting().map_or("salt_file", |setting| if setting == "salt" { "salt_file" } else { setting });
        ReportError { key, message: error.to_string() }
    }
}

impl ReportSettings {
    pub(super) fn validate(self) -> Result<ReportConfig, ReportError> {
        let days = NonZeroU8::new(self.days.unwrap_or(2)).filter(|days| days.get() <= 31);
        let days = days.ok_or_else(|| error("days", "from 1 to 31"))?;
        let (advertising, shop) = (self.advertising()?, self.shop()?);
        let own_bots = read(self.bots.as_deref(), "bots", |path| std::fs::read_to_string(path))?;
        let agents = match &own_bots {
            None => Agents::new(),
            Some(list) => Agents::with_own_list(list).map_err(|problem| error("bots", problem))?,
        };
        let settings = Settings {
            event: self.event,
            page: self.page,
            referrer: self.referrer,
            visitor: self.visitor,
            known_events: self.known_events,
            session_gap: self.session_gap,
            funnel: self.funnel,
            funnel_gap: self.funnel_gap,
            burst: self.burst,
            sampling: self.sampling,
            salt: read(self.salt_file.as_deref(), "salt_file", |path| std::fs::read(path))?,
            own_bots,
            advertising,
            shop,
            reconcile: false,
        };
        let view = View {
            zone: zone(self.time_zone.as_deref())?,
            top: self.top.unwrap_or(100),
            recent: 10,
            blog: self.uses.contains(&Use::Blog),
        };
        Ok(ReportConfig {
            definitions: settings.validate()?,
            settings,
            agents: Arc::new(AgentReader::new(agents)),
            view,
            days,
            page_rows: self.top.unwrap_or(20),
        })
    }

    fn advertising(&self) -> Result<Option<AdvertisingSettings>, ReportError> {
        let given = [
            ("campaign", self.campaign.is_some()),
            ("publisher", self.publisher.is_some()),
            ("impression_id", self.impression_id.is_some()),
            ("ad_events", self.ad_events.is_some()),
            ("networks", self.networks.is_some()),
            ("id_window", self.id_window.is_some()),
        ];
        if !self.is_for(Use::AdTech, "ad-tech", &given)? {
            return Ok(None);
        }
        let list = read(self.networks.as_deref(), "networks", |path| std::fs::read_to_string(path))?;
        let networks = list.map(|list| list.parse::<Networks>().map_err(|problem| error("networks", problem)));
        Ok(Some(AdvertisingSettings {
            campaign: self.campaign.clone(),
            publisher: self.publisher.clone(),
            impression_id: self.impression_id.clone(),
            events: self.ad_events.clone(),
            networks: networks.transpose()?,
            id_window: self.id_window,
        }))
    }

    fn shop(&self) -> Result<Option<ShopSettings>, ReportError> {
        let given = [
            ("product", self.product.is_some()),
            ("value", self.value.is_some()),
            ("currency", self.currency.is_some()),
            ("shop_events", self.shop_events.is_some()),
        ];
        Ok(self.is_for(Use::Shop, "shop", &given)?.then(|| ShopSettings {
            product: self.product.clone(),
            value: self.value.clone(),
            currency: self.currency.clone(),
            events: self.shop_events.clone(),
        }))
    }

    /// Whether the report is for that, and without it, whether any of its keys is given.
    fn is_for(&self, wanted: Use, name: &str, keys: &[(&'static str, bool)]) -> Result<bool, ReportError> {
        match keys.iter().find(|(_, is_given)| *is_given) {
            _ if self.uses.contains(&wanted) => Ok(true),
            Some((key, _)) => Err(error(key, format_args!("it is for use = \"{name}\""))),
            None => Ok(false),
        }
    }
}

/// What a file holds.
fn read<T>(
    path: Option<&Path>,
    key: &'static str,
    read: impl FnOnce(&Path) -> std::io::Result<T>,
) -> Result<Option<T>, ReportError> {
    let Some(path) = path else { return Ok(None) };
    read(path).map(Some).map_err(|problem| error(key, format_args!("{}: {problem}", path.display())))
}

fn zone(name: Option<&str>) -> Result<TimeZone, ReportError> {
    match name {
        None => Ok(TimeZone::UTC),
        Some("system") => Ok(TimeZone::system()),
        Some(name) => TimeZone::get(name).map_err(|problem| {
            error("time_zone", format_args!("{problem}; zones have names such as Europe/Zurich or America/New_York"))
        }),
    }
}

impl Reader<'_> {
    /// What is counted of a pipeline, if its table asks for it.
    pub(super) fn report(
        &mut self,
        name: &Name<'_>,
        pipeline: &Table<'_>,
        parts: &mut Vec<Part>,
    ) -> Option<ReportConfig> {
        let item = pipeline.get(REPORT)?;
        let mut part = Part { title: REPORT.to_owned(), ..Part::default() };
        let settings = match item.get_ref() {
            DeValue::Boolean(false) => return None,
            DeValue::Boolean(true) => Some(ReportSettings::default()),
            DeValue::Table(table) => self.typed::<ReportSettings>(table, REPORT_KEYS, &mut part),
            _ => {
                let message = format!("report: true, false, or a table [pipeline.{}.report]", name.get_ref());
                self.error(Some(item.span()), &message);
                return None;
            }
        };
        part.keys = REPORT_KEYS;
        parts.push(part);
        settings?
            .validate()
            .map_err(|error| {
                let of_key = item.get_ref().as_table().and_then(|table| table.get(error.key));
                self.error(Some(of_key.unwrap_or(item).span()), &error.message);
            })
            .ok()
    }

    /// Reports of which nobody could see anything.
    pub(super) fn refuse_unseen_reports(&mut self, read: &[PipelineConfig], document: &Table<'_>) {
        let pipelines = document.get(PIPELINE).and_then(|pipelines| pipelines.get_ref().as_table());
        for PipelineConfig { name, .. } in read.iter().filter(|pipeline| pipeline.report.is_some()) {
            let place = pipelines
                .and_then(|pipelines| pipelines.get(name.as_str())?.get_ref().as_table()?.get(REPORT))
                .map(Spanned::span);
            let message = format!(
                "pipeline {name}: the admin listener shows its report: add [admin] with listen = \"127.0.0.1:9464\""
            );
            self.error(place, &message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FileConfig, FileErrors};
    use super::*;

    fn parse(report: &str) -> Result<FileConfig, FileErrors> {
        let text =
            format!("[admin]\nlisten = \"127.0.0.1:0\"\n[pipeline.a]\nsource = {{ type = \"stdin\" }}\n{report}\n");
        FileConfig::parse("run.toml", &text, [])
    }

    fn report(report: &str) -> Option<ReportConfig> {
        parse(report).unwrap().pipelines.remove(0).report
    }

    #[test]
    fn nothing_is_counted_unless_it_is_asked_for() {
        assert!(report("").is_none() && report("report = false").is_none());
        let plain = report("report = true").unwrap();
        assert_eq!((plain.days.get(), plain.view.top, plain.page_rows), (2, 100, 20));
        assert!(report("[pipeline.a.report]").unwrap() == plain, "salts differ, and nothing else");
        let own = report("[pipeline.a.report]\nuse = \"blog\"\ntop = 5\ntime_zone = \"Europe/Zurich\"").unwrap();
        assert!(own != plain && own.view.blog);
        assert_eq!((own.view.top, own.page_rows, own.view.zone.iana_name()), (5, 5, Some("Europe/Zurich")));
    }

    #[test]
    fn a_report_that_changes_changes_its_pipeline() {
        let folder = tempfile::tempdir().unwrap();
        let salt = folder.path().join("salt");
        std::fs::write(&salt, "0123456789abcdef").unwrap();
        let text = format!("[pipeline.a.report]\nsalt_file = \"{}\"", salt.display());
        let file = parse(&text).unwrap();
        assert!(file.has(&parse(&text).unwrap().pipelines[0]));
        assert!(!file.has(&parse("report = true").unwrap().pipelines[0]));
        let shown = format!("{:?}", file.pipelines[0].report);
        assert!(!shown.contains("0123456789abcdef") && !shown.contains("48, 49, 50"), "{shown}");
        std::fs::write(&salt, "fedcba9876543210").unwrap();
        assert!(!file.has(&parse(&text).unwrap().pipelines[0]), "the file holds another salt");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (report, expected) in [
            ("report = 1", "run.toml:5:10: report: true, false, or a table [pipeline.a.report]"),
            (
                "[pipeline.a.report]\nevents = \"e\"",
                "run.toml:6:1: unknown key `events` of a report; did you mean `event`?",
            ),
            ("[pipeline.a.report]\ndays = 0", "run.toml:6:8: days: from 1 to 31"),
            ("[pipeline.a.report]\ndays = \"two\"", "run.toml:6:8: days: invalid type"),
            ("[pipeline.a.report]\ntop = 3\nevent = \"qurey.e\"", "run.toml:7:9: event: unknown"),
            ("[pipeline.a.report]\nfunnel = \"a >\"", "run.toml:6:10: funnel: "),
            (
                "[pipeline.a.report]\nsession_gap = \"0s\"",
                "run.toml:6:15: session_gap: must be between 1 ms and 366 days",
            ),
            ("[pipeline.a.report]\nsession_gap = \"soon\"", "run.toml:6:15: session_gap: invalid value"),
            ("[pipeline.a.report]\nfunnel_gap = \"999d\"", "run.toml:6:14: funnel_gap: must be between"),
            ("[pipeline.a.report]\nsampling = 101", "run.toml:6:12: sampling "),
            ("[pipeline.a.report]\nsalt_file = \"/no/such\"", "run.toml:6:13: salt_file: /no/such: No such file"),
            ("[pipeline.a.report]\nsalt_file = \"/dev/null\"", "run.toml:6:13: the salt has 0 bytes"),
            ("[pipeline.a.report]\nbots = \"/no/such\"", "run.toml:6:8: bots: /no/such: No such file"),
            ("[pipeline.a.report]\ntime_zone = \"Mars\"", "run.toml:6:13: time_zone: "),
            ("[pipeline.a.report]\nuse = \"shops\"", "run.toml:6:7: use: ad-tech, blog or shop, or a list of them"),
            ("[pipeline.a.report]\ncampaign = \"query.c\"", "run.toml:6:12: campaign: it is for use = \"ad-tech\""),
            (
                "[pipeline.a.report]\nuse = [\"shop\"]\nshop_events = \"x\"",
                "run.toml:7:15: shop_events: `x` is no pair",
            ),
            ("[pipeline.a.report]\nuse = \"ad-tech\"\nid_window = 0", "run.toml:7:13: id_window: "),
        ] {
            let errors = parse(report).expect_err(report).to_string();
            assert!(errors.contains(expected), "{report}\n{errors}");
        }
        let text = "[pipeline.a]\nsource = { type = \"stdin\" }\nreport = true\n";
        let errors = FileConfig::parse("run.toml", text, []).unwrap_err().to_string();
        assert!(
            errors.starts_with("run.toml:3:10: pipeline a: the admin listener shows its report: add [admin]"),
            "{errors}"
        );
    }
}
