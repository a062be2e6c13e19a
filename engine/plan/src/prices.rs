//! Prices are data: a file says what each item costs, where the price is from, of which date it is,
//! and whether it was confirmed.
//!
//! The built-in file, `prices.json` beside this one, has the prices for which a source was found. A
//! figure that depends on an unconfirmed price, or that lacks one, says so in every output, see
//! [`Caveat`](super::designs::Caveat).

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What a GB of memory has, in bytes, and a GB of data unless a price file says otherwise.
///
/// Source for memory: task sizes in the ECS developer guide, where 512 MiB are 0.5 GB.
pub(crate) const GIB: f64 = (1_u64 << 30) as f64;

/// The file that is used unless the user has one.
pub const BUILT_IN: &str = include_str!("prices.json");

/// What has a price. In files: `kinesis-shard-hour`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Item {
    /// A shard of a provisioned stream for an hour.
    KinesisShardHour,
    /// A million PUT payload units of 25 KiB, provisioned.
    KinesisPutUnitMillion,
    /// A consumer with enhanced fan-out on a provisioned shard for an hour.
    KinesisFanOutShardHour,
    /// A GB that such a consumer reads.
    KinesisFanOutGb,
    /// An on-demand stream for an hour.
    KinesisOnDemandStreamHour,
    /// A GB into an on-demand stream, each record rounded up to 1 KiB.
    KinesisOnDemandInGb,
    /// A GB out of an on-demand stream.
    KinesisOnDemandOutGb,
    /// A GB out of an on-demand stream to a consumer with enhanced fan-out.
    KinesisOnDemandFanOutGb,
    /// A GB that a channel delivers from an on-demand stream to S3.
    KinesisChannelGb,
    /// A GB into Firehose, each record rounded up to 5 KiB, up to `up_to_gb` in a month.
    #[serde(rename = "firehose-gb-tier-1")]
    FirehoseGbTier1,
    /// The same above the first tier, up to its own `up_to_gb`.
    #[serde(rename = "firehose-gb-tier-2")]
    FirehoseGbTier2,
    /// The same above the second tier.
    #[serde(rename = "firehose-gb-tier-3")]
    FirehoseGbTier3,
    /// A million lines of CloudFront real-time logs.
    CloudfrontLineMillion,
    /// A million invocations of Lambda functions.
    LambdaRequestMillion,
    /// A GB of a Lambda function's memory for a second.
    LambdaGbSecond,
    /// A thousand objects put into S3.
    S3PutThousand,
    /// A virtual CPU for this engine for an hour.
    VcpuHour,
    /// A GB of memory for this engine for an hour.
    MemoryGbHour,
}

impl Item {
    /// Every item, in the order of the services.
    pub const ALL: [Item; 18] = [
        Item::KinesisShardHour,
        Item::KinesisPutUnitMillion,
        Item::KinesisFanOutShardHour,
        Item::KinesisFanOutGb,
        Item::KinesisOnDemandStreamHour,
        Item::KinesisOnDemandInGb,
        Item::KinesisOnDemandOutGb,
        Item::KinesisOnDemandFanOutGb,
        Item::KinesisChannelGb,
        Item::FirehoseGbTier1,
        Item::FirehoseGbTier2,
        Item::FirehoseGbTier3,
        Item::CloudfrontLineMillion,
        Item::LambdaRequestMillion,
        Item::LambdaGbSecond,
        Item::S3PutThousand,
        Item::VcpuHour,
        Item::MemoryGbHour,
    ];
}

impl fmt::Display for Item {
    /// Its key in a price file.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

/// One price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// In the file's currency, for one `unit`.
    pub value: f64,
    /// What it is the price of.
    pub unit: String,
    /// The end of a tier, in GB a month; for `firehose-gb-tier-1` and `-2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to_gb: Option<f64>,
    /// Where it is from.
    pub source: String,
    /// When it was looked up.
    pub date: String,
    /// Whether the source settles it.
    pub confirmed: bool,
}

/// How many bytes a GB has on a bill: 10^9 or 2^30.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GbSize {
    /// The bytes.
    pub value: f64,
    /// Where it is from.
    pub source: String,
    /// When it was looked up.
    pub date: String,
    /// Whether the source settles it.
    pub confirmed: bool,
}

/// The size of a GB on the bills of the services that charge by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GbSizes {
    /// On Firehose's.
    pub firehose: GbSize,
    /// On that of Kinesis Data Streams.
    pub kinesis: GbSize,
}

impl GbSizes {
    /// The size that goes with an item; `None` if it is not priced by the GB.
    pub(crate) fn of(&self, item: Item) -> Option<&GbSize> {
        match item {
            Item::FirehoseGbTier1 | Item::FirehoseGbTier2 | Item::FirehoseGbTier3 => Some(&self.firehose),
            Item::KinesisFanOutGb
            | Item::KinesisOnDemandInGb
            | Item::KinesisOnDemandOutGb
            | Item::KinesisOnDemandFanOutGb
            | Item::KinesisChannelGb => Some(&self.kinesis),
            Item::KinesisShardHour
            | Item::KinesisPutUnitMillion
            | Item::KinesisFanOutShardHour
            | Item::KinesisOnDemandStreamHour
            | Item::CloudfrontLineMillion
            | Item::LambdaRequestMillion
            | Item::LambdaGbSecond
            | Item::S3PutThousand
            | Item::VcpuHour
            | Item::MemoryGbHour => None,
        }
    }
}

/// A price file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceFile {
    /// What its values are in, such as `USD`.
    pub currency: String,
    /// The sizes of a GB.
    pub bytes_per_gb: GbSizes,
    /// The prices of each region that the file knows: all of them, or some.
    pub regions: BTreeMap<String, BTreeMap<Item, Price>>,
    /// Where it was read from, for messages.
    #[serde(skip)]
    name: String,
}

/// The prices of one region.
#[derive(Clone, Debug, Serialize)]
pub struct Prices {
    /// The file that they are from.
    pub file: String,
    /// The region.
    pub region: String,
    /// What the values are in.
    pub currency: String,
    /// The sizes of a GB.
    pub bytes_per_gb: GbSizes,
    prices: BTreeMap<Item, Price>,
}

/// Why prices cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PriceError {
    /// The file cannot be read, usually because it is not there.
    #[error("{file}: {error}")]
    Read {
        /// The file.
        file: String,
        /// What the system says.
        #[source]
        error: std::io::Error,
    },
    /// The file is not JSON, or a key of it is missing, misspelled or of the wrong type.
    #[error("{file}: {error}")]
    Format {
        /// The file.
        file: String,
        /// What is wrong, with line and column.
        #[source]
        error: serde_json::Error,
    },
    /// The file has no prices for the region.
    #[error("{file}: no prices for the region `{region}`; it has {}", known.join(", "))]
    UnknownRegion {
        /// The file.
        file: String,
        /// The region that was asked for.
        region: String,
        /// The regions that the file has.
        known: Vec<String>,
    },
    /// A GB that is neither 10^9 nor 2^30 bytes.
    #[error("{file}: bytes_per_gb: a GB has 1000000000 or 1073741824 bytes")]
    BytesPerGb {
        /// The file.
        file: String,
    },
    /// A price that is negative or not finite.
    #[error("{file}: {region}: {item}: a price is a number from 0 up")]
    Negative {
        /// The file.
        file: String,
        /// The region.
        region: String,
        /// The price.
        item: Item,
    },
    /// A tier without its end, or an end at a price that has no tiers.
    #[error("{file}: {region}: {item}: `up_to_gb` belongs to `firehose-gb-tier-1` and `-2`, and to no other price")]
    TierEnd {
        /// The file.
        file: String,
        /// The region.
        region: String,
        /// The price.
        item: Item,
    },
    /// The second tier of Firehose ends before the first.
    #[error("{file}: {region}: firehose-gb-tier-2: its `up_to_gb` must be above the first tier's")]
    TierOrder {
        /// The file.
        file: String,
        /// The region.
        region: String,
    },
}

impl PriceFile {
    /// The prices that come with the program.
    pub fn built_in() -> PriceFile {
        PriceFile::parse("built-in prices", BUILT_IN).expect("a test reads the built-in file")
    }

    /// Reads a file, which replaces the built-in one as a whole.
    ///
    /// # Errors
    /// It cannot be read, or is not a price file.
    pub fn read(path: &Path) -> Result<PriceFile, PriceError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => PriceFile::parse(&file, &text),
            Err(error) => Err(PriceError::Read { file, error }),
        }
    }

    /// Reads the text of a file; `name` is for messages.
    ///
    /// # Errors
    /// It is not a price file.
    pub fn parse(name: &str, text: &str) -> Result<PriceFile, PriceError> {
        let parsed = serde_json::from_str(text).map_err(|error| PriceError::Format { file: name.to_owned(), error })?;
        let price_file = PriceFile { name: name.to_owned(), ..parsed };
        let file = || name.to_owned();
        let GbSizes { firehose, kinesis } = &price_file.bytes_per_gb;
        if [firehose, kinesis].iter().any(|gb| ![1e9, GIB].contains(&gb.value)) {
            return Err(PriceError::BytesPerGb { file: file() });
        }
        for (region, prices) in &price_file.regions {
            let region = || region.clone();
            for (&item, price) in prices {
                if !(price.value.is_finite() && price.value >= 0.0) {
                    return Err(PriceError::Negative { file: file(), region: region(), item });
                }
                let has_end = matches!(item, Item::FirehoseGbTier1 | Item::FirehoseGbTier2);
                if has_end != price.up_to_gb.is_some() {
                    return Err(PriceError::TierEnd { file: file(), region: region(), item });
                }
            }
            let end = |item| prices.get(&item).and_then(|price| price.up_to_gb);
            if let (Some(first), Some(second)) = (end(Item::FirehoseGbTier1), end(Item::FirehoseGbTier2))
                && !(0.0 < first && first < second)
            {
                return Err(PriceError::TierOrder { file: file(), region: region() });
            }
        }
        Ok(price_file)
    }

    /// The prices of a region.
    ///
    /// # Errors
    /// The file does not have the region.
    pub fn region(&self, region: &str) -> Result<Prices, PriceError> {
        let file = self.name.clone();
        let Some(prices) = self.regions.get(region) else {
            let known = self.regions.keys().cloned().collect();
            return Err(PriceError::UnknownRegion { file, region: region.to_owned(), known });
        };
        Ok(Prices {
            file,
            region: region.to_owned(),
            currency: self.currency.clone(),
            bytes_per_gb: self.bytes_per_gb.clone(),
            prices: prices.clone(),
        })
    }
}

impl Prices {
    /// The price of an item; `None` if the file does not have it.
    pub fn of(&self, item: Item) -> Option<&Price> {
        self.prices.get(&item)
    }

    /// Firehose's tiers in order: the price, and the GB a month at which the tier ends. Where a
    /// tier has no price it has no end either.
    pub(crate) fn firehose_tiers(&self) -> [(Item, f64); 3] {
        [Item::FirehoseGbTier1, Item::FirehoseGbTier2, Item::FirehoseGbTier3]
            .map(|item| (item, self.of(item).and_then(|price| price.up_to_gb).unwrap_or(f64::INFINITY)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn changed(change: impl FnOnce(&mut Value)) -> Result<Prices, PriceError> {
        let mut file: Value = serde_json::from_str(BUILT_IN).unwrap();
        change(&mut file);
        PriceFile::parse("mine.json", &file.to_string())?.region("us-east-1")
    }

    #[test]
    fn every_built_in_price_says_what_it_is_and_where_it_is_from() {
        let file = PriceFile::built_in();
        for (region, prices) in &file.regions {
            for (item, price) in prices {
                let what = format!("{region} {item}");
                assert!(!price.source.is_empty() && !price.unit.is_empty() && !price.date.is_empty(), "{what}");
                let by_gb = price.unit.starts_with("GB") && !price.unit.starts_with("GB-");
                assert_eq!(by_gb, file.bytes_per_gb.of(*item).is_some(), "{what}");
            }
        }
    }

    #[test]
    fn only_the_channel_has_no_price_in_us_east_1() {
        let prices = PriceFile::built_in().region("us-east-1").unwrap();
        let missing: Vec<Item> = Item::ALL.into_iter().filter(|&item| prices.of(item).is_none()).collect();
        assert_eq!(missing, [Item::KinesisChannelGb], "no source has it");
    }

    #[test]
    fn prices_of_a_region_are_its_own() {
        let file = PriceFile::built_in();
        let price =
            |region: &str, item| file.region(region).unwrap().of(item).map(|price| (price.value, price.confirmed));
        assert_eq!(price("ap-northeast-1", Item::KinesisShardHour), Some((0.0195, true)));
        assert_eq!(price("ap-northeast-1", Item::FirehoseGbTier1), Some((0.036, false)));
        assert_eq!(price("eu-central-1", Item::KinesisShardHour), Some((0.018, false)));
        assert_eq!(price("eu-west-1", Item::FirehoseGbTier1), None, "not found, so not invented");
        for region in file.regions.keys() {
            assert_eq!(price(region, Item::CloudfrontLineMillion), Some((0.01, true)), "{region}");
        }
    }

    #[test]
    fn keys_are_the_names_of_items() {
        assert_eq!(Item::KinesisOnDemandFanOutGb.to_string(), "kinesis-on-demand-fan-out-gb");
        assert_eq!(Item::FirehoseGbTier1.to_string(), "firehose-gb-tier-1");
        assert_eq!(Item::S3PutThousand.to_string(), "s3-put-thousand");
    }

    #[test]
    fn an_unknown_region_lists_those_that_there_are() {
        let error = PriceFile::built_in().region("eu-north-9").unwrap_err().to_string();
        assert_eq!(
            error,
            "built-in prices: no prices for the region `eu-north-9`; it has ap-northeast-1, ap-southeast-1, \
            eu-central-1, eu-west-1, us-east-1, us-west-2"
        );
    }

    #[test]
    fn what_is_no_price_file_is_refused() {
        let says = |change: fn(&mut Value), what: &str| {
            let message = changed(change).unwrap_err().to_string();
            assert!(message.starts_with("mine.json: ") && message.contains(what), "{message}");
        };
        says(|file| file["surprise"] = json!(1), "unknown field `surprise`");
        says(|file| file["regions"]["us-east-1"]["kinesis-shard-minute"] = json!({}), "kinesis-shard-minute");
        says(|file| file["regions"]["us-east-1"]["vcpu-hour"]["vlaue"] = json!(1), "unknown field `vlaue`");
        says(|file| file["regions"]["us-east-1"]["vcpu-hour"]["value"] = json!(-1), "us-east-1: vcpu-hour: a price");
        says(|file| file["regions"]["us-east-1"]["vcpu-hour"]["up_to_gb"] = json!(1), "`up_to_gb` belongs");
        says(|file| file["regions"]["us-east-1"]["firehose-gb-tier-2"]["up_to_gb"] = json!(1), "above the first");
        says(|file| file["bytes_per_gb"]["firehose"]["value"] = json!(1024), "a GB has");
        says(|file| file["bytes_per_gb"]["kinesis"]["value"] = json!(1024), "a GB has");
        says(
            |file| {
                file["regions"]["us-east-1"]["vcpu-hour"].as_object_mut().unwrap().remove("source");
            },
            "missing field `source`",
        );
        let message = PriceFile::parse("mine.json", "{").unwrap_err().to_string();
        assert!(message.contains("line 1 column 1"), "{message}");
    }
}
