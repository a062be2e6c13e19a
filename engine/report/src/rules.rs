//! What is abnormal about an event: rules with a named cause, no learning.

use pixel_engine_log::field::Field;
use pixel_engine_log::line::Line;
use serde::{Deserialize, Serialize};

macro_rules! rules {
    ($($variant:ident $name:literal $about:literal,)*) => {
        /// A rule that an event breaks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub(crate) enum Rule {
            $(#[doc = $about] $variant,)*
        }

        impl Rule {
            /// Every rule, in the order of a report.
            pub(crate) const ALL: &'static [Rule] = &[$(Rule::$variant,)*];

            /// The key in a report.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Rule::$variant => $name,)* }
            }

            /// What it says of the events that it counts.
            pub(crate) const fn about(self) -> &'static str {
                match self { $(Rule::$variant => $about,)* }
            }
        }
    };
}

rules! {
    Error "error" "sc-status is 400 or above",
    Aborted "aborted" "sc-status is 000: the viewer went away before the answer",
    EdgeFault "edge_fault" "x-edge-result-type is Error, LimitExceeded or CapacityExceeded, and sc-status below 400",
    Method "method" "cs-method is none of GET, HEAD and POST: an image sends GET, and sendBeacon POST",
    WithoutQuery "without_query" "cs-uri-query is -: a pixel that says nothing",
    UnknownEvent "unknown_event" "the event's name is not among the known ones",
    WithoutId "without_id" "x-edge-request-id is -",
    WithoutTime "without_time" "no time, or one before November 2008 or after 2099: in no hour and no session",
    NoAgent "no_agent" "cs-user-agent is - or shorter than 20 characters",
    Tool "tool" "cs-user-agent is of an HTTP library, a command line tool or a headless browser",
    BrokenEscapes "broken_escapes" "the query has an escape that is none, or is no UTF-8 once it is decoded",
    CutQuery "cut_query" "the query ends inside of an escape",
    LongQuery "long_query" "cs-uri-query is longer than the 800 bytes at which CloudFront cuts other fields",
}

impl Rule {
    pub(crate) const COUNT: usize = Rule::ALL.len();
}

/// The rules that an event breaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Broken(u16);

impl Broken {
    #[inline]
    pub(crate) fn add_if(&mut self, rule: Rule, is_broken: bool) {
        self.0 |= u16::from(is_broken) << rule as u16;
    }

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn rules(self) -> impl Iterator<Item = Rule> {
        Rule::ALL.iter().copied().filter(move |rule| self.0 & 1 << *rule as u16 != 0)
    }
}

/// The rules about the answer and the request that the line breaks.
#[inline]
pub(crate) fn of_line(line: &Line<'_>, status: Option<u16>) -> Broken {
    let mut broken = Broken::default();
    let is_error = status.is_some_and(|status| status >= 400);
    broken.add_if(Rule::Error, is_error);
    broken.add_if(Rule::Aborted, status == Some(0));
    let result = line.get(Field::XEdgeResultType);
    broken.add_if(
        Rule::EdgeFault,
        !is_error && matches!(result, Some(b"Error" | b"LimitExceeded" | b"CapacityExceeded")),
    );
    let method = line.get(Field::CsMethod);
    broken.add_if(Rule::Method, method.is_some_and(|method| !matches!(method, b"GET" | b"HEAD" | b"POST")));
    broken.add_if(Rule::WithoutId, lacks(line, Field::XEdgeRequestId));
    broken.add_if(Rule::WithoutQuery, lacks(line, Field::CsUriQuery));
    broken
}

/// Whether the log has the field, and the line none.
#[inline]
pub(crate) fn lacks(line: &Line<'_>, field: Field) -> bool {
    line.schema().position(field).is_some() && line.get(field).is_none()
}

#[cfg(test)]
mod tests {
    use pixel_engine_log::scan::{Positions, scan};
    use pixel_engine_log::schema::{LogKind, Schema};

    use super::*;

    #[test]
    fn what_pages_send_is_not_abnormal() {
        let schema = Schema::parse(LogKind::RealTime, "cs-method,cs-uri-query").unwrap();
        for (method, is_usual) in
            [("GET", true), ("HEAD", true), ("POST", true), ("OPTIONS", false), ("PUT", false), ("get", false)]
        {
            let text = format!("{method}\te=view\n");
            let mut positions = Positions::default();
            scan(text.as_bytes(), &mut positions);
            let (start, ends) = positions.lines().next().unwrap();
            let line = Line::new(text.as_bytes(), start, ends, &schema);
            assert_eq!(of_line(&line, Some(200)).is_empty(), is_usual, "{method}");
        }
    }
}
