//! What the beacons of CloudFront logs say: visitors and their sessions, pages and where they were
//! reached from, user agents, answers, and what is abnormal.
//!
//! [`Beacons`] is an observer of a run: it counts each line once, on the thread that has it. What it
//! has counted is a [`State`], which can be written, read and merged with others: hours or machines
//! that are counted apart make the same report as if they had been counted together. A [`Document`]
//! is that report.
//!
//! ```
//! use std::sync::Arc;
//!
//! use pixel_engine_agents::Agents;
//! use pixel_engine_core::observe::Observed;
//! use pixel_engine_core::quarantine::Quarantine;
//! use pixel_engine_core::run::Run;
//! use pixel_engine_core::sink::null::Null;
//! use pixel_engine_core::source::{Closed, Feed, Source};
//! use pixel_engine_report::{AgentReader, Beacons, Document, Lines, Settings, View};
//!
//! struct Sample;
//!
//! impl Source for Sample {
//!     fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed> {
//!         let mut inlet = feed.open("sample");
//!         inlet.push("1767600000.5\t203.0.113.9\tcurl/8.0\te=view&url=https%253A%252F%252Fa.example%252F\n")?;
//!         inlet.push("1767600001.5\t203.0.113.7\tMozilla/5.0%20(X11)%20Firefox/140.0\te=view\n")?;
//!         inlet.end()?;
//!         Ok(())
//!     }
//! }
//!
//! let agents = Arc::new(AgentReader::new(Agents::new()));
//! let beacons = Arc::new(Observed::new(Beacons::new(Settings::default().validate()?, agents)));
//! let config = pixel_engine_core::config::Settings::default().validate()?;
//! let (mut sink, mut quarantine) = (Null::new(config.api()), Quarantine::new("/dev/null"));
//! let run = Run::new(&config).source(Sample).observer(beacons.clone()).to(&mut sink, &mut quarantine);
//!
//! let observer = beacons.observer();
//! let state = observer.take(beacons.take()).with_lines(Lines::of_run(&run));
//! let report = Document::new(&state, observer.agents(), &View::default());
//! assert_eq!((report.beacons.beacons, report.beacons.bots), (2, 1));
//! assert_eq!((report.visitors.people, report.visitors.bots), (1, 1));
//! assert_eq!(report.table("pages").unwrap().rows[0].name, "a.example/");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod advertising;
mod agent_reader;
mod beacon;
mod beacons;
pub mod document;
mod funnel;
mod hours;
mod latency;
mod money;
mod networks;
mod reconcile;
mod rows;
mod rules;
mod salt;
mod sample;
mod settings;
mod shop;
mod sighting;
mod state;
mod top;
mod values;
mod visitor;

pub use advertising::{AdvertisingSettings, DefinedAdvertising};
pub use agent_reader::AgentReader;
pub use beacons::{Beacons, Tally};
pub use document::{Document, View};
pub use funnel::{Funnel, FunnelError};
pub use networks::{Networks, NetworksError, NetworksProblem};
pub use reconcile::StandardLog;
pub use settings::{Defined, Definitions, Settings, SettingsError};
pub use shop::{DefinedShop, ShopSettings};
pub use state::{BadLines, Lines, State, StateError};
