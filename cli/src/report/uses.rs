//! What a report is for: presets of what is counted beside the usual.

use std::fs;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use pixel_engine::report::{AdvertisingSettings, Networks, ShopSettings};

/// What the report is for.
#[derive(Args)]
#[command(next_help_heading = "What it is for")]
pub(super) struct Uses {
    /// Count what this use needs, too; repeatable
    #[arg(long = "use", value_name = "USE")]
    uses: Vec<Use>,

    /// For ad-tech: where the campaign is [default: query.campaign,query.utm_campaign]
    #[arg(long, value_name = "FIELDS")]
    campaign: Option<String>,

    /// For ad-tech: where the publisher is [default: query.publisher,query.pub]
    #[arg(long, value_name = "FIELDS")]
    publisher: Option<String>,

    /// For ad-tech: where the id is that an impression has, and all that follows from it
    /// [default: query.iid,query.imp]
    #[arg(long, value_name = "FIELDS")]
    impression_id: Option<String>,

    /// For ad-tech: the names of events, where they are others than impression, viewable, click,
    /// conversion: impression=imp,click=clk
    #[arg(long, value_name = "EVENT=NAME,...")]
    ad_events: Option<String>,

    /// For ad-tech: a file with the networks of data centres, one a line such as 203.0.113.0/24 or
    /// 2001:db8::/32; what follows a # is a comment
    #[arg(long, value_name = "FILE")]
    networks: Option<PathBuf>,

    /// For ad-tech: how many ids are kept to tell duplicates, up to 58 bytes each
    /// [default: 1000000]
    #[arg(long, value_name = "N")]
    id_window: Option<u64>,

    /// For shop: where the product is; the page if a line has none of these
    /// [default: query.product,query.item,query.sku]
    #[arg(long, value_name = "FIELDS")]
    product: Option<String>,

    /// For shop: where the value of an order is [default: query.value]
    #[arg(long, value_name = "FIELDS")]
    value: Option<String>,

    /// For shop: where its currency is [default: query.currency]
    #[arg(long, value_name = "FIELDS")]
    currency: Option<String>,

    /// For shop: the names of events, where they are others than view, cart, checkout, paid:
    /// cart=add,paid=order
    #[arg(long, value_name = "EVENT=NAME,...")]
    shop_events: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Use {
    /// Impressions, viewable, clicks and conversions by campaign and publisher: gross, known
    /// invalid, duplicates and net
    AdTech,
    /// Topics, countries, and how much is read on phones and tablets
    Blog,
    /// The funnel view > cart > checkout > paid, abandoned carts, front-page exits, and products
    /// with their revenue
    Shop,
}

impl Uses {
    /// How advertisements are counted, if they are.
    pub(super) fn advertising(&self) -> Result<Option<AdvertisingSettings>, String> {
        let given = [
            ("--campaign", self.campaign.is_some()),
            ("--publisher", self.publisher.is_some()),
            ("--impression-id", self.impression_id.is_some()),
            ("--ad-events", self.ad_events.is_some()),
            ("--networks", self.networks.is_some()),
            ("--id-window", self.id_window.is_some()),
        ];
        if !self.has(Use::AdTech, "ad-tech", &given)? {
            return Ok(None);
        }
        Ok(Some(AdvertisingSettings {
            campaign: self.campaign.clone(),
            publisher: self.publisher.clone(),
            impression_id: self.impression_id.clone(),
            events: self.ad_events.clone(),
            networks: self.networks()?,
            id_window: self.id_window,
        }))
    }

    /// How a shop is counted, if it is.
    pub(super) fn shop(&self) -> Result<Option<ShopSettings>, String> {
        let given = [
            ("--product", self.product.is_some()),
            ("--value", self.value.is_some()),
            ("--currency", self.currency.is_some()),
            ("--shop-events", self.shop_events.is_some()),
        ];
        let is_shop = self.has(Use::Shop, "shop", &given)?;
        Ok(is_shop.then(|| ShopSettings {
            product: self.product.clone(),
            value: self.value.clone(),
            currency: self.currency.clone(),
            events: self.shop_events.clone(),
        }))
    }

    pub(super) fn is_blog(&self) -> bool {
        self.uses.contains(&Use::Blog)
    }

    fn networks(&self) -> Result<Option<Networks>, String> {
        let Some(path) = &self.networks else { return Ok(None) };
        let list = fs::read_to_string(path).map_err(|error| format!("--networks {}: {error}", path.display()))?;
        list.parse().map(Some).map_err(|error| format!("--networks {}: {error}", path.display()))
    }

    /// Whether the report is for that, and without it, whether any of its flags is given.
    fn has(&self, wanted: Use, name: &str, flags: &[(&str, bool)]) -> Result<bool, String> {
        match flags.iter().find(|(_, is_given)| *is_given) {
            _ if self.uses.contains(&wanted) => Ok(true),
            Some((flag, _)) => Err(format!("{flag} is for `--use {name}`")),
            None => Ok(false),
        }
    }
}
