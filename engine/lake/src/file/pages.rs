//! The bytes of a chunk, page by page, for whoever puts a file together.

use std::io::{self, Read};
use std::vec;

use bytes::{Buf, Bytes};
use parquet::errors::Result;
use parquet::file::reader::{ChunkReader, Length};

/// Pages that stand one after the other.
pub(crate) struct Pages(Vec<Bytes>);

impl Pages {
    pub(crate) fn new(pages: Vec<Bytes>) -> Pages {
        Pages(pages)
    }
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.0.iter().map(|page| page.len() as u64).sum()
    }
}

impl ChunkReader for Pages {
    type T = PagesReader;

    fn get_read(&self, start: u64) -> Result<PagesReader> {
        let mut reader = PagesReader { page: Bytes::new(), rest: self.0.clone().into_iter() };
        io::copy(&mut (&mut reader).take(start), &mut io::sink())?;
        Ok(reader)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let mut bytes = Vec::with_capacity(length);
        self.get_read(start)?.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }
}

/// Reads pages without copying them before.
pub(crate) struct PagesReader {
    page: Bytes,
    rest: vec::IntoIter<Bytes>,
}

impl Read for PagesReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.page.is_empty() {
            let Some(next) = self.rest.next() else { return Ok(0) };
            self.page = next;
        }
        let len = out.len().min(self.page.len());
        self.page.copy_to_slice(&mut out[..len]);
        Ok(len)
    }
}
