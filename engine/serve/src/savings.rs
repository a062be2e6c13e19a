//! What packing has saved so far, in money.

use pixel_engine_core::billing::Billed;
use pixel_engine_core::config::{Config, Target};
use pixel_engine_core::sink::limits::Api;
use pixel_engine_plan::prices::{GbSizes, Item, Price, PriceFile, Prices};
use serde::Serialize;

/// Whose price is shown where the price file does not have that of the region.
const USUAL_REGION: &str = "us-east-1";

/// What the records of a pipeline are charged.
#[derive(Clone, Debug)]
pub(crate) struct Rates {
    currency: String,
    rates: Vec<Rate>,
}

#[derive(Clone, Debug)]
struct Rate {
    name: &'static str,
    price: Price,
    region: String,
    /// Billed bytes or units in one unit of the price.
    per: f64,
    billed: fn(&Billed) -> u64,
}

/// What was saved at one price, and how that comes about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Saving {
    name: &'static str,
    amount: f64,
    currency: String,
    formula: String,
}

impl Rates {
    /// The built-in prices of the pipeline's region, or of the usual one where they are not known.
    pub(crate) fn of(config: &Config) -> Rates {
        let stream = config.target().stream();
        let of_stream = stream.and_then(|stream| stream.region().map(str::to_owned));
        let region = config.connection().region.clone().or(of_stream).or_else(|| std::env::var("AWS_REGION").ok());
        let file = PriceFile::built_in();
        let of_region = region.and_then(|region| file.region(&region).ok());
        let usual = file.region(USUAL_REGION).ok();
        let prices: Vec<Prices> = of_region.into_iter().chain(usual).collect();
        let is_stream = matches!(config.target(), Target::Stream(_));
        let rates = if is_stream { rates(config.api(), &prices) } else { Vec::new() };
        Rates { currency: file.currency, rates }
    }

    /// What was saved at each price that may apply, from what the lines that have arrived were
    /// billed, and would have been as records of their own.
    pub(crate) fn savings(&self, packed: Billed, unpacked: Billed) -> Vec<Saving> {
        let saving = |Rate { name, price, region, per, billed }: &Rate| {
            let amount_of = |billed: f64| billed / per * price.value;
            let (packed, unpacked) = (billed(&packed) as f64, billed(&unpacked) as f64);
            Saving {
                name,
                amount: amount_of(unpacked) - amount_of(packed),
                currency: self.currency.clone(),
                formula: format!(
                    "({unpacked:.0} - {packed:.0}) / {per} × {} {} per {}, {region}",
                    price.value, self.currency, price.unit
                ),
            }
        };
        self.rates.iter().map(saving).collect()
    }
}

/// The rates of an API; of the prices, the first that is known holds.
fn rates(api: Api, prices: &[Prices]) -> Vec<Rate> {
    type Rule = fn(&Billed) -> u64;
    let rate = |name, item, bytes: fn(&GbSizes) -> f64, billed: Rule| {
        let (prices, price) = prices.iter().find_map(|prices| Some((prices, prices.of(item)?)))?;
        let (price, region, per) = (price.clone(), prices.region.clone(), bytes(&prices.bytes_per_gb));
        Some(Rate { name, price, region, per, billed })
    };
    let rates = match api {
        Api::PutRecordBatch => {
            vec![rate("Firehose", Item::FirehoseGbTier1, |gb| gb.firehose.value, |billed| billed.firehose)]
        }
        Api::PutRecords => vec![
            rate("Kinesis, if on demand", Item::KinesisOnDemandInGb, |gb| gb.kinesis.value, |billed| billed.on_demand),
            rate("Kinesis, if provisioned", Item::KinesisPutUnitMillion, |_| 1e6, |billed| billed.put_payload_units),
        ],
    };
    rates.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use pixel_engine_core::config::Settings;

    use super::*;

    fn rates_to(to: &str, region: &str) -> Rates {
        let settings = Settings { to: Some(to.to_owned()), region: Some(region.to_owned()), ..Settings::default() };
        Rates::of(&settings.validate().unwrap())
    }

    #[test]
    fn what_arrived_is_compared_with_a_record_a_line() {
        let packed = Billed { firehose: 1 << 30, ..Billed::default() };
        let unpacked = Billed { firehose: 2_000_000 * 5_120, ..Billed::default() };
        let rates = rates_to("firehose://beacons", "us-east-1");
        let [saving] = &rates.savings(packed, unpacked)[..] else { panic!("one price") };
        let gb = 2_000_000.0 * 5_120.0 / f64::from(1 << 30);
        assert!((saving.amount - (gb - 1.0) * 0.029).abs() < 1e-9, "{saving:?}");
        assert_eq!(saving.formula, "(10240000000 - 1073741824) / 1073741824 × 0.029 USD per GB, us-east-1");
    }

    #[test]
    fn a_kinesis_stream_has_two_prices_and_a_folder_none() {
        let names = |to| rates_to(to, "mars-north-1").rates.iter().map(|rate| rate.name).collect::<Vec<_>>();
        assert_eq!(names("kinesis://hits"), ["Kinesis, if on demand", "Kinesis, if provisioned"]);
        assert_eq!(names("dir:out"), [""; 0]);
        assert_eq!(rates_to("kinesis://hits", "mars-north-1").rates[0].region, USUAL_REGION);
    }
}
