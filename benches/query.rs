//! Parsing queries and decoding all their parameters, against `form_urlencoded`.

use std::borrow::Cow;
use std::error::Error;

use pixel_engine::log::field::Field;
use pixel_engine::log::percent;
use pixel_engine::log::query::{Query, QueryEncoding};
use pixel_engine_bench_data::classes;
use pixel_engine_benches::data::{self, Lines};
use pixel_engine_benches::{Contest, Stage};

const INTO_BUFFER: &str = "into one buffer";
const AS_COWS: &str = "as Cows";

fn main() -> Result<(), Box<dyn Error>> {
    let mut stage = Stage::new(
        "query",
        "the values of cs-uri-query of 4 MB of lines, each name and value decoded and its length added up. Encoded \
         once: the viewer's query, which both sides decode once. As logged: encoded once more by CloudFront; \
         the rival undoes that with percent-encoding before it parses, as its user has to. form_urlencoded also \
         replaces what is not UTF-8; ours gives bytes.",
    );
    for (name, lines) in
        [("realtime-46", data::log("realtime-46", 4 << 20)), ("query-heavy", classes::query_heavy(4 << 20))]
    {
        let lines = Lines::new("realtime-46", lines);
        let logged: Vec<Cow<'_, [u8]>> =
            lines.iter().filter_map(|line| line.get(Field::CsUriQuery)).map(Cow::Borrowed).collect();
        let once: Vec<Cow<'_, [u8]>> = logged.iter().map(|query| percent::decode(query)).collect();
        // The targets are for usual lines.
        let target = (name == "realtime-46").then_some(3.0);
        stage.contest(contest(&format!("{name}, encoded once"), &once, QueryEncoding::Once, target));
        stage.contest(contest(&format!("{name}, as logged"), &logged, QueryEncoding::Twice, target));
    }
    stage.note(
        "Ours into one buffer copies every name and value; as Cows it borrows what has nothing to decode and \
         allocates the rest, as form_urlencoded does.",
    );
    stage.finish()
}

fn contest<'a>(what: &str, queries: &'a [Cow<'a, [u8]>], encoding: QueryEncoding, target: Option<f64>) -> Contest<'a> {
    let rival = match encoding {
        QueryEncoding::Once => "form_urlencoded",
        QueryEncoding::Twice => "percent-encoding, then form_urlencoded",
    };
    let bytes = queries.iter().map(|query| query.len()).sum();
    let different = queries.iter().filter(|query| !same_pairs(query, encoding)).count();
    let checked = match different {
        0 => "names and values".to_owned(),
        _ => format!("names and values, but for {different} of {} queries", queries.len()),
    };
    let mut buffer = Vec::new();
    let contest = Contest::new(what, bytes)
        .ours(INTO_BUFFER, move || {
            let mut len = 0;
            for query in queries {
                for parameter in Query::with_encoding(query, encoding) {
                    buffer.clear();
                    parameter.decode_name_into(&mut buffer);
                    parameter.decode_value_into(&mut buffer);
                    len += buffer.len();
                }
            }
            len
        })
        .ours(AS_COWS, move || {
            let mut len = 0;
            for query in queries {
                for parameter in Query::with_encoding(query, encoding) {
                    len += parameter.name_decoded().len();
                    len += parameter.value_decoded().map_or(0, |value| value.len());
                }
            }
            len
        })
        .rival(rival, move || {
            let mut len = 0;
            for query in queries {
                for_each_pair(query, encoding, |name, value| len += name.len() + value.len());
            }
            len
        })
        .checked(checked, different == 0);
    match target {
        Some(times) => contest.target(INTO_BUFFER, rival, times).target(AS_COWS, rival, times),
        None => contest,
    }
}

fn same_pairs(query: &[u8], encoding: QueryEncoding) -> bool {
    let text = |bytes: Cow<'_, [u8]>| String::from_utf8_lossy(&bytes).into_owned();
    let ours = Query::with_encoding(query, encoding)
        .map(|parameter| (text(parameter.name_decoded()), parameter.value_decoded().map(text).unwrap_or_default()));
    let mut theirs = Vec::new();
    for_each_pair(query, encoding, |name, value| theirs.push((name.to_owned(), value.to_owned())));
    ours.eq(theirs)
}

fn for_each_pair(query: &[u8], encoding: QueryEncoding, mut pair: impl FnMut(&str, &str)) {
    let decoded: Cow<'_, [u8]> = match encoding {
        QueryEncoding::Once => Cow::Borrowed(query),
        QueryEncoding::Twice => percent_encoding::percent_decode(query).into(),
    };
    for (name, value) in form_urlencoded::parse(&decoded) {
        pair(&name, &value);
    }
}
