//! What is to be known of Parquet files before they are merged.

use std::collections::BTreeSet;
use std::sync::Arc;

use parquet::file::metadata::{ColumnChunkMetaData, KeyValue};
use parquet::schema::types::SchemaDescPtr;
use rayon::ThreadPool;
use rayon::prelude::*;

use super::input::{Place, Section, Trouble};
use super::{columns, ids};

/// The deepest level of nesting that is carried over.
const MAX_LEVEL: i16 = 254;

/// What is to be known of a Parquet file before it is merged.
pub(super) struct Survey {
    pub(super) place: Place,
    pub(super) schema: SchemaDescPtr,
    pub(super) rows: u64,
    /// The column chunks of the ids.
    pub(super) ids: Vec<(ColumnChunkMetaData, usize)>,
    /// The leaves that have a Bloom filter.
    pub(super) filtered: Vec<bool>,
    pub(super) key_values: Option<Vec<KeyValue>>,
}

impl Survey {
    pub(super) fn ids_len(&self) -> u64 {
        self.ids.iter().map(|(chunk, _)| chunk.byte_range().1).sum()
    }
}

/// The footers of files; or what is wrong with those that have none.
pub(super) fn surveys(places: Vec<Place>, readers: &ThreadPool) -> Result<Vec<Survey>, Vec<(usize, Trouble)>> {
    let surveys: Vec<Result<Survey, Trouble>> = readers.install(|| places.into_par_iter().map(survey).collect());
    let mut good: Vec<Survey> = Vec::new();
    let mut troubles = Vec::new();
    for (place, survey) in surveys.into_iter().enumerate() {
        match survey {
            // Most have the same columns: kept once.
            Ok(survey) => match good.iter().rev().take(8).find(|other| other.schema == survey.schema) {
                Some(other) => {
                    let schema = Arc::clone(&other.schema);
                    good.push(Survey { schema, ..survey });
                }
                None => good.push(survey),
            },
            Err(trouble) => troubles.push((place, trouble)),
        }
    }
    if troubles.is_empty() { Ok(good) } else { Err(troubles) }
}

fn survey(place: Place) -> Result<Survey, Trouble> {
    let footer = place.footer()?;
    let file = footer.file_metadata();
    let schema = file.schema_descr_ptr();
    let groups = footer.row_groups();
    let rows: i64 = groups.iter().map(|group| group.num_rows()).sum();
    if rows != file.num_rows() {
        return Err(Trouble::File(format!("it has {rows} rows, and says that there are {}", file.num_rows())));
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = columns::fields_of(&schema).find(|field| !names.insert(field.name())) {
        return Err(Trouble::File(format!("two of its columns are called {}", twice.name())));
    }
    drop(names);
    if schema.columns().iter().any(|column| column.max_def_level() > MAX_LEVEL) {
        return Err(Trouble::File("its columns are nested too deeply".to_owned()));
    }
    let leaf = ids::leaf(&schema);
    let ids = leaf
        .into_iter()
        .flat_map(|leaf| groups.iter().map(move |group| (group.column(leaf).clone(), group.num_rows() as usize)));
    let ids: Vec<_> = ids.collect();
    let has_filter = |leaf: usize| groups.iter().any(|group| group.column(leaf).bloom_filter_offset().is_some());
    Ok(Survey {
        rows: rows as u64,
        ids,
        filtered: (0..schema.num_columns()).map(has_filter).collect(),
        key_values: file.key_value_metadata().cloned(),
        schema,
        place,
    })
}

/// The hashes of the ids of a file.
pub(super) fn hashes(survey: &Survey) -> Result<Vec<u64>, Trouble> {
    let mut hashes = Vec::with_capacity(survey.rows as usize);
    let Some(leaf) = ids::leaf(&survey.schema) else { return Ok(hashes) };
    for (chunk, rows) in &survey.ids {
        let section = Section::of_chunk(&survey.place, chunk)?;
        let each = |id: Option<&[u8]>| hashes.extend(id.map(ids::hash));
        ids::read(section, chunk, &survey.schema.column(leaf), *rows, each).map_err(Trouble::of_file)?;
    }
    Ok(hashes)
}
