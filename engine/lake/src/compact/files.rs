//! The data files of a place by folder, and which of them are to be compacted.

use std::collections::BTreeMap;

use pixel_engine_core::sink::inventory::Item;

use super::journal;
use super::report::Left;

/// The data files of one folder.
#[derive(Default)]
pub(super) struct Folder {
    pub(super) journal: Option<Item>,
    pub(super) items: Vec<Item>,
}

/// What is to be done about a folder.
#[derive(Default)]
pub(super) struct Chosen {
    pub(super) parquet: Vec<Item>,
    pub(super) text: Vec<Item>,
    pub(super) left: Vec<Left>,
    pub(super) kept: u64,
    pub(super) recent: u64,
}

/// Files that cannot be merged after all, by their place among the files of the folder.
pub(super) type Excluded = BTreeMap<usize, String>;

impl Chosen {
    pub(super) fn count(&self) -> u64 {
        (self.parquet.len() + self.text.len()) as u64
    }

    /// One small file is no smaller when it is written again.
    pub(super) fn is_worth_it(&self) -> bool {
        !self.text.is_empty() || self.parquet.len() > 1
    }

    pub(super) fn clear(&mut self) {
        self.parquet.clear();
        self.text.clear();
    }

    pub(super) fn exclude(&mut self, excluded: Excluded) {
        let parquet = self.parquet.len();
        for (place, reason) in excluded.into_iter().rev() {
            let item = match place.checked_sub(parquet) {
                None => self.parquet.remove(place),
                Some(place) => self.text.remove(place),
            };
            self.left.push(Left { name: item.name, reason });
        }
    }

    /// Files whose columns are not those of the others. What text becomes has the same columns,
    /// whichever file it is of.
    pub(super) fn conflicts(&self, conflicts: Excluded) -> Excluded {
        let parquet = self.parquet.len();
        let of_text = conflicts.iter().find(|(place, _)| **place >= parquet).map(|(_, reason)| reason.clone());
        let mut excluded: Excluded = conflicts.into_iter().filter(|(place, _)| *place < parquet).collect();
        if let Some(reason) = of_text {
            excluded.extend((parquet..parquet + self.text.len()).map(|place| (place, reason.clone())));
        }
        excluded
    }
}

/// Data files by folder, a path that ends in `/`, or is empty for the place itself. What has a name
/// with `_` or `.` first, or is below such a folder, is no data, as readers know.
pub(super) fn folders(items: Vec<Item>) -> BTreeMap<String, Folder> {
    let mut folders: BTreeMap<String, Folder> = BTreeMap::new();
    for item in items {
        let (folder, name) = item.name.split_at(item.name.rfind('/').map_or(0, |slash| slash + 1));
        let is_hidden = |part: &str| part.starts_with(['_', '.']);
        let is_journal = name == journal::NAME;
        if name.is_empty() || folder.split('/').any(is_hidden) || (is_hidden(name) && !is_journal) {
            continue;
        }
        let folder = folders.entry(folder.to_owned()).or_default();
        if is_journal {
            folder.journal = Some(item);
        } else {
            folder.items.push(item);
        }
    }
    folders
}
