//! What a blog wants to know as text.

use std::fmt::{self, Formatter};

use indicatif::HumanCount as Count;
use pixel_engine::report::document::{Blog, Shares};

use super::{NAME, cut, heading};

pub(super) fn blog(out: &mut Formatter<'_>, blog: &Blog) -> fmt::Result {
    let definition = |name: &str| blog.definitions.iter().find(|of| of.name == name).map_or("", |of| &of.definition);
    heading(out, "Blog: topics", definition("topics"))?;
    shares(out, &blog.topics)?;
    heading(out, "Blog: countries", definition("countries"))?;
    shares(out, &blog.countries)?;
    heading(out, "Blog: devices", definition("devices"))?;
    shares(out, &blog.devices)?;
    writeln!(out, "  mobile: {} ({:.1} %): {}", Count(blog.mobile), blog.mobile_percent, definition("mobile"))
}

fn shares(out: &mut Formatter<'_>, shares: &Shares) -> fmt::Result {
    for share in &shares.rows {
        writeln!(
            out,
            "  {:NAME$} {:>13} {:>6.1} %",
            cut(&share.name, NAME),
            Count(share.beacons).to_string(),
            share.percent
        )?;
    }
    if shares.others > 0 {
        writeln!(out, "  {:NAME$} {:>13}", "(others)", Count(shares.others).to_string())?;
    }
    if shares.error > 0 {
        writeln!(out, "  not all names could be kept: each of them is right to ± {}", Count(shares.error))?;
    }
    Ok(())
}
