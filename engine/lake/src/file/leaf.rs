//! What columns of a file take of the rows of a table.

use parquet::errors::Result;
use pixel_engine_log::encode::row::{self, Row};

use super::chunk::ChunkWriter;

/// What a chunk takes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The value.
    Value,
    /// The names of a map.
    Names,
    /// The texts of a map.
    Texts,
}

/// Where the values of a chunk are in rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaf {
    /// The column's place in the rows.
    pub(crate) column: usize,
    pub(crate) part: Part,
}

impl Leaf {
    /// Writes what the chunk takes of each row.
    pub(crate) fn write(self, rows: &[Row<'_>], chunk: &mut ChunkWriter) -> Result<()> {
        for row in rows {
            let value = row.value(self.column);
            match (self.part, value) {
                (Part::Value, Some(value)) => chunk.push(0, value),
                (Part::Value, None) => chunk.push_absent(0, 0),
                (Part::Names, map) => write_map(map, |(name, _)| name, chunk),
                (Part::Texts, map) => write_map(map, |(_, text)| text, chunk),
            }
            chunk.end_row()?;
        }
        Ok(())
    }
}

/// The names or the texts of a map.
fn write_map<'a>(map: Option<&'a [u8]>, part: impl Fn((&'a [u8], &'a [u8])) -> &'a [u8], chunk: &mut ChunkWriter) {
    let mut is_empty = true;
    for pair in map.into_iter().flat_map(row::pairs) {
        chunk.push((!is_empty).into(), part(pair));
        is_empty = false;
    }
    if is_empty {
        chunk.push_absent(map.is_some().into(), 0);
    }
}
