//! Runs of the whole pipeline to nowhere.

use std::path::Path;

use pixel_engine::compress::Codec;
use pixel_engine::config::{ContainerKind, EncodingKind, OnBadLine, Settings};
use pixel_engine::kpl;
use pixel_engine::quarantine::Quarantine;
use pixel_engine::run::{Run, Summary};
use pixel_engine::sink::Sink;
use pixel_engine::sink::limits::Api;
use pixel_engine::sink::null::Null;
use pixel_engine::source::{Files, Input, Source};
use pixel_engine_core::pack::lines;

/// What varies between runs.
#[derive(Clone, Debug)]
pub struct Variant {
    /// What it is called in tables.
    pub name: &'static str,
    /// What a line becomes.
    pub encoding: EncodingKind,
    /// The container.
    pub container: ContainerKind,
    /// How records are compressed.
    pub codec: Codec,
    /// Bytes of a record at most.
    pub record_size: usize,
    /// Whether lines may change their order within a block.
    pub reorder: bool,
}

impl Variant {
    /// Lines as they came, in the largest records.
    pub const RAW: Variant = Variant {
        name: "raw",
        encoding: EncodingKind::Raw,
        container: ContainerKind::Lines,
        codec: Codec::None,
        record_size: lines::MAX_RECORD_SIZE,
        reorder: false,
    };

    /// JSON lines, in the largest records.
    pub const JSON: Variant = Variant { name: "jsonl", encoding: EncodingKind::Jsonl, ..Variant::RAW };

    /// Lines as they came, in KPL aggregates of the usual size.
    pub const KPL: Variant =
        Variant { name: "kpl", container: ContainerKind::Kpl, record_size: kpl::DEFAULT_RECORD_SIZE, ..Variant::RAW };

    /// Lines as they came, compressed into the largest records.
    pub const ZSTD: Variant = Variant { name: "zstd:1", codec: Codec::Zstd(1), ..Variant::RAW };

    /// Lines as they came, as gzip in the largest records.
    pub const GZIP: Variant = Variant { name: "gzip:1", codec: Codec::Gzip(1), ..Variant::RAW };

    /// All of these.
    pub const ALL: [Variant; 5] = [Variant::RAW, Variant::JSON, Variant::KPL, Variant::ZSTD, Variant::GZIP];

    /// The API that its records are for.
    pub fn api(&self) -> Api {
        if self.container == ContainerKind::Kpl { Api::PutRecords } else { Api::PutRecordBatch }
    }

    /// Runs over one input, to nowhere.
    ///
    /// # Panics
    /// When anything goes wrong, a bad line included.
    pub fn run(&self, input: Input, threads: usize) -> Summary {
        self.run_to(input, threads, &mut Null::new(self.api()))
    }

    /// Runs over one input, to a sink.
    ///
    /// # Panics
    /// When anything goes wrong, a bad line included.
    pub fn run_to(&self, input: Input, threads: usize, sink: &mut dyn Sink) -> Summary {
        self.run_source_to(Files::new([input]), threads, sink)
    }

    /// Runs over a source, to nowhere.
    ///
    /// # Panics
    /// When anything goes wrong, a bad line included.
    pub fn run_source(&self, source: impl Source, threads: usize) -> Summary {
        self.run_source_to(source, threads, &mut Null::new(self.api()))
    }

    fn run_source_to(&self, source: impl Source, threads: usize, sink: &mut dyn Sink) -> Summary {
        let settings = Settings {
            encode: Some(self.encoding),
            on_bad_line: Some(OnBadLine::Fail),
            container: Some(self.container),
            record_size: Some(self.record_size as u64),
            reorder: Some(self.reorder),
            compress: (self.codec != Codec::None).then(|| self.codec.to_string()),
            threads: Some(threads as u64),
            ..Settings::default()
        };
        let config = settings.validate().expect("the settings of a variant go together");
        let mut quarantine = Quarantine::new(Path::new("/dev/null"));
        let report = Run::new(&config).source(source).to(sink, &mut quarantine);
        assert!(report.errors.is_empty(), "{:?}", report.errors);
        report.summary
    }
}
