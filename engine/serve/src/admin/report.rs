//! The report of a pipeline, as JSON and as the page shows it.

use std::sync::Arc;

use hyper::body::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::DrawnReport;
use crate::watch::{Watch, Watches};

/// How it is wanted.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// The document. Who reads it with a program names the pipeline, if there are several.
    Json,
    /// What the page shows, drawn by this.
    Html(fn(&DrawnReport<'_>) -> String),
}

/// The report of the pipeline that the query names: `pipeline=NAME`. What is wrong is a sentence.
pub(super) async fn report(watches: &Watches, query: Option<&str>, form: Form) -> Result<Bytes, String> {
    let reporting: Vec<Arc<Watch>> = watches.all().into_iter().filter(|watch| watch.report.is_some()).collect();
    let watch = Arc::clone(choose(&reporting, named(query).as_deref(), form)?);
    let pipelines: Vec<(String, String)> =
        reporting.iter().map(|watch| (watch.name.clone(), address(&watch.name))).collect();
    let body = move || {
        let report = watch.report.as_ref()?;
        let document = report.document();
        Some(match form {
            Form::Json => serde_json::to_vec(&*document).expect("every key is text").into(),
            Form::Html(draw) => {
                let (rows, pipeline) = (report.config().page_rows, watch.name.as_str());
                draw(&DrawnReport { document: &document, rows, pipeline, pipelines: &pipelines }).into()
            }
        })
    };
    // It takes a while, and probes are answered meanwhile.
    let made = tokio::task::spawn_blocking(body).await;
    made.ok().flatten().ok_or_else(|| "the report could not be made; the log says why".to_owned())
}

fn choose<'a>(reporting: &'a [Arc<Watch>], name: Option<&str>, form: Form) -> Result<&'a Arc<Watch>, String> {
    let names = || reporting.iter().map(|watch| address(&watch.name)).collect::<Vec<_>>().join(", ");
    match (reporting, name, form) {
        ([], _, _) => Err("no pipeline has a report: add report = true to it".to_owned()),
        (_, Some(name), _) => {
            let found = reporting.iter().find(|watch| watch.name == name);
            found.ok_or_else(|| format!("no pipeline of that name has a report: {}", names()))
        }
        ([first], None, _) | ([first, ..], None, Form::Html(_)) => Ok(first),
        (_, None, Form::Json) => Err(format!("several pipelines have a report: say which: {}", names())),
    }
}

/// What a query asks for that page by.
fn address(name: &str) -> String {
    format!("?pipeline={}", utf8_percent_encode(name, NON_ALPHANUMERIC))
}

fn named(query: Option<&str>) -> Option<String> {
    let value = query?.split('&').find_map(|pair| pair.strip_prefix("pipeline="))?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_letters_comes_back() {
        for name in ["beacons", "a b&c=d?e#f/g%25", "Grüße"] {
            assert_eq!(named(Some(&address(name)[1..])).as_deref(), Some(name));
        }
        assert_eq!((named(None), named(Some("x=1"))), (None, None));
        assert_eq!(named(Some("x=1&pipeline=a")).as_deref(), Some("a"));
    }
}
