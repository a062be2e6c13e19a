//! The query of a pixel hit: what a page, a mail or an advertisement reports.
//!
//! A query follows one of a few templates, as trackers do, and is written in the form that
//! CloudFront logs: the viewer's own escapes show as `%25XX`.

use crate::hit::Hit;
use crate::random::{Draw, Skewed};
use crate::tables::{SCREENS, Tables};
use crate::text::{push_decimal, push_hex, push_uuid};

/// How much of a query there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueryStyle {
    /// 6 to 20 parameters.
    Realistic,
    /// A few parameters, one of them a URL of 2 to 7 KB: the length of a URL that CloudFront
    /// accepts is 8,192 bytes.
    LongUrl,
    /// 60 to 120 short parameters.
    ManyParameters,
}

#[derive(Clone, Copy)]
enum Value {
    Page,
    Title,
    Referrer,
    Uuid,
    VisitorId,
    Session,
    Campaign,
    Search,
    Screen,
    Language,
    TimeZone,
    Milliseconds,
    Small,
    Number,
    Price,
}

/// A tracker's order of parameters: text and values in turn.
pub(crate) struct Template {
    parts: Vec<(Box<[u8]>, Value)>,
    end: Box<[u8]>,
}

/// Weight and text of each template; `{name}` is a value.
const TEMPLATES: [(f64, &str); 9] = [
    (29.0, "e=pv&u={page}&r={referrer}&uid={visitor}&l={language}&s={screen}&t={ms}"),
    (26.0, "e=ping&u={page}&uid={visitor}&n={small}&d={small}&t={ms}"),
    (22.0, "e=open&m={number}&l=weekly&s={visitor}&c={campaign}&v=2"),
    (10.0, "ev=imp&c={campaign}&ad={number}&pl=top&w=300&h=250&uid={visitor}&gdpr=1&cb={number}"),
    (
        4.0,
        "event=page_view&url={page}&ref={referrer}&title={title}&user_id={uuid}&session_id={session}&lang={language}\
         &screen={screen}&tz={zone}&utm_campaign={campaign}&utm_source=mail&utm_medium=&ts={ms}",
    ),
    (6.0, "e=click&u={page}&x={number}&y={small}&el=nav&uid={visitor}&sid={session}&t={ms}&c={campaign}"),
    (4.0, "e=search&q={search}&u={page}&uid={visitor}&res={number}&l={language}&t={ms}&new"),
    (
        2.0,
        "event=purchase&url={page}&user_id={uuid}&order={number}&value={price}&currency=EUR&item={number}&item={number}\
         &item={number}&qty={small}&coupon=&lang={language}&screen={screen}&tz={zone}&consent&utm_campaign={campaign}\
         &session_id={session}&ts={ms}",
    ),
    (2.0, "e=scroll&p={small}&u={page}&title={title}&uid={visitor}&s={screen}&t={ms}"),
];

/// What a query ends with now and then: names without `=`, empty values, repeated names, `+`,
/// broken escapes, text that was not encoded by the page. One parameter each, at most two.
const ODDITIES: [&[u8]; 10] = [
    b"&debug",
    b"&gclid=",
    b"&tag=a&tag=b",
    b"&note=red+or+blue",
    b"&share=100%25",
    b"&x=%25zz",
    b"&city=Z%25C3%25BCrich",
    b"&city=Z%C3%BCrich",
    b"&q=%2525E4",
    b"&=1",
];

impl Template {
    pub(crate) fn all() -> Skewed<Template> {
        let weights: Vec<f64> = TEMPLATES.iter().map(|(weight, _)| *weight).collect();
        Skewed::weighted(TEMPLATES.iter().map(|(_, text)| Template::parse(text)).collect(), &weights)
    }

    fn parse(text: &str) -> Template {
        let mut pieces = text.split('}');
        let end = pieces.next_back().unwrap_or_default();
        let parts = pieces.map(|piece| {
            let (literal, name) = piece.split_once('{').expect("each value of a template stands in braces");
            let value = match name {
                "page" => Value::Page,
                "title" => Value::Title,
                "referrer" => Value::Referrer,
                "uuid" => Value::Uuid,
                "visitor" => Value::VisitorId,
                "session" => Value::Session,
                "campaign" => Value::Campaign,
                "search" => Value::Search,
                "screen" => Value::Screen,
                "language" => Value::Language,
                "zone" => Value::TimeZone,
                "ms" => Value::Milliseconds,
                "small" => Value::Small,
                "number" => Value::Number,
                "price" => Value::Price,
                other => unreachable!("no template has the value {other}"),
            };
            (literal.as_bytes().into(), value)
        });
        Template { parts: parts.collect(), end: end.as_bytes().into() }
    }
}

/// Appends the query of `hit`.
pub(crate) fn push_query(out: &mut Vec<u8>, style: QueryStyle, hit: &Hit<'_>, tables: &Tables, draw: &mut Draw) {
    let template = tables.templates.pick(draw);
    for (literal, value) in &template.parts {
        out.extend_from_slice(literal);
        push_value(out, *value, hit, tables, draw);
    }
    out.extend_from_slice(&template.end);
    if draw.per_mille(60) {
        out.extend_from_slice(draw.pick(&ODDITIES));
    }
    match style {
        QueryStyle::Realistic => {}
        QueryStyle::LongUrl => {
            out.extend_from_slice(b"&long=");
            let end = out.len() + draw.between(2048, 7168) as usize;
            while out.len() < end {
                out.extend_from_slice(&tables.pages.pick(draw).value);
                out.extend_from_slice(b"%252F");
            }
        }
        QueryStyle::ManyParameters => {
            for index in 0..draw.between(54, 110) {
                out.extend_from_slice(b"&p");
                push_decimal(out, index);
                out.push(b'=');
                push_decimal(out, draw.skewed(0, 20));
            }
        }
    }
}

#[inline]
fn push_value(out: &mut Vec<u8>, value: Value, hit: &Hit<'_>, tables: &Tables, draw: &mut Draw) {
    match value {
        Value::Page => out.extend_from_slice(&hit.page.value),
        Value::Title => out.extend_from_slice(&hit.page.title),
        Value::Referrer => out.extend_from_slice(tables.referrers.pick(draw)),
        Value::Uuid => push_uuid(out, hit.visitor.id, hit.visitor.id.rotate_left(23)),
        Value::VisitorId => push_hex::<16>(out, hit.visitor.id),
        Value::Session => push_hex::<8>(out, draw.word()),
        Value::Campaign => out.extend_from_slice(tables.campaigns.pick(draw)),
        Value::Search => out.extend_from_slice(tables.search_terms.pick(draw)),
        Value::Screen => out.extend_from_slice(SCREENS[hit.visitor.screen]),
        Value::Language => out.extend_from_slice(hit.network.language.as_bytes()),
        Value::TimeZone => out.extend_from_slice(&hit.network.time_zone_value),
        // The browser's clock when it sent the hit, before CloudFront had answered.
        Value::Milliseconds => push_decimal(out, hit.millis.saturating_sub(draw.between(20, 150))),
        Value::Small => push_decimal(out, draw.skewed(1, 6)),
        Value::Number => push_decimal(out, draw.skewed(10, 26)),
        Value::Price => {
            push_decimal(out, draw.skewed(4, 9));
            out.extend_from_slice(draw.pick::<&[u8]>(&[b".00", b".99", b".50", b".95"]));
        }
    }
}
