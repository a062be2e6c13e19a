//! What a shop sells: views, carts, orders and revenue by product.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pixel_engine_log::line::Line;
use pixel_engine_log::select::Selector;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::beacon::Value;
use crate::money::{Amount, Currency};
use crate::rows::{self, Place, PlaceCache, Raw, Rows};
use crate::settings::{SettingsError, event_names, listed, selectors};
use crate::values::Values;

/// How a shop is counted; what is `None` has the default that its field names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShopSettings {
    /// Where the product is; the page if a line has none of these. Default:
    /// `query.product,query.item,query.sku`.
    pub product: Option<String>,
    /// Where the value of an order is, as a decimal number. Default: `query.value`.
    pub value: Option<String>,
    /// Where its currency is, three letters of ISO 4217. Default: `query.currency`.
    pub currency: Option<String>,
    /// The names that events have: `cart=add,paid=order`. Those that are not named have the
    /// default: `view`, `cart`, `checkout`, `paid`.
    pub events: Option<String>,
}

/// The steps to an order, and the default names of their events.
pub(crate) const STEPS: [&str; 4] = ["view", "cart", "checkout", "paid"];

/// Which of [`STEPS`] an order is paid with.
const PAID: usize = 3;

/// How a shop is counted, checked.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    product: Vec<Selector>,
    value: Vec<Selector>,
    currency: Vec<Selector>,
    /// By step.
    pub(crate) events: [Box<str>; STEPS.len()],
}

/// How a shop is counted, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinedShop {
    /// Where the product is.
    pub product: String,
    /// Where the value of an order is.
    pub value: String,
    /// Where its currency is.
    pub currency: String,
    /// The names of the events of views, carts, checkouts and orders.
    pub events: [String; 4],
}

impl ShopSettings {
    pub(crate) fn validate(&self) -> Result<Definition, SettingsError> {
        let product = self.product.as_deref().unwrap_or("query.product,query.item,query.sku");
        Ok(Definition {
            product: selectors("product", product)?,
            value: selectors("value", self.value.as_deref().unwrap_or("query.value"))?,
            currency: selectors("currency", self.currency.as_deref().unwrap_or("query.currency"))?,
            events: event_names("shop_events", STEPS, self.events.as_deref().unwrap_or_default())?,
        })
    }
}

impl Definition {
    pub(crate) fn defined(&self) -> DefinedShop {
        DefinedShop {
            product: listed(&self.product),
            value: listed(&self.value),
            currency: listed(&self.currency),
            events: self.events.clone().map(String::from),
        }
    }
}

/// The numbers of a product.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sales {
    /// Events of people, by step.
    pub(crate) events: [u64; STEPS.len()],
    /// Events of bots, which are in nothing else.
    pub(crate) bots: u64,
    /// What orders brought, by currency and in no order.
    pub(crate) revenue: SmallVec<[(Currency, Amount); 1]>,
    /// Orders that say no value.
    pub(crate) without_value: u64,
    /// Orders whose value is no number, or whose currency is none, or one too many.
    pub(crate) unread_values: u64,
}

/// So many currencies of one product are summed up.
pub(crate) const MAX_CURRENCIES: usize = 200;

impl Sales {
    fn add(&mut self, sale: Sale) {
        let Kind::Step(step) = sale.kind else {
            self.bots += 1;
            return;
        };
        self.events[usize::from(step)] += 1;
        if usize::from(step) != PAID {
            return;
        }
        match sale.value {
            Read::Nothing => self.without_value += 1,
            Read::Unread => self.unread_values += 1,
            Read::Amount(currency, amount) => {
                if !self.add_revenue(currency, amount) {
                    self.unread_values += 1;
                }
            }
        }
    }

    /// Whether there was room for it.
    fn add_revenue(&mut self, currency: Currency, amount: Amount) -> bool {
        if let Some((_, sum)) = self.revenue.iter_mut().find(|(known, _)| *known == currency) {
            *sum += amount;
            return true;
        }
        let has_room = self.revenue.len() < MAX_CURRENCIES;
        if has_room {
            self.revenue.push((currency, amount));
        }
        has_room
    }

    pub(crate) fn merge(&mut self, from: Sales) {
        for (count, more) in self.events.iter_mut().zip(from.events) {
            *count += more;
        }
        self.bots += from.bots;
        self.without_value += from.without_value;
        self.unread_values += from.unread_values;
        for (currency, amount) in from.revenue {
            if !self.add_revenue(currency, amount) {
                self.unread_values += 1;
            }
        }
    }
}

/// Products by name; none for events that name neither a product nor a page.
pub(crate) type Products = Rows<Option<Box<str>>, Sales>;

pub(crate) fn merge(products: &mut Products, from: Products) {
    products.merge(from, Sales::merge);
}

/// An event of a product.
#[derive(Clone, Copy)]
struct Sale {
    product: Place,
    kind: Kind,
    value: Read,
}

#[derive(Clone, Copy)]
enum Kind {
    Bot,
    Step(u8),
}

/// What an event says of its value.
#[derive(Clone, Copy)]
enum Read {
    Nothing,
    Unread,
    Amount(Currency, Amount),
}

/// Counts products on several threads.
pub(crate) struct Shop {
    definition: Definition,
    values: Values<3>,
    products: Mutex<Products>,
}

/// What one thread has noted.
#[derive(Default)]
pub(crate) struct Tally {
    places: PlaceCache,
    sales: Vec<Sale>,
}

impl Shop {
    pub(crate) fn new(definition: &Definition) -> Shop {
        let Definition { product, value, currency, .. } = definition;
        Shop {
            values: Values::new([product, value, currency]),
            definition: definition.clone(),
            products: Mutex::default(),
        }
    }

    /// Notes the line if its event is a step to an order.
    pub(crate) fn note(&self, line: &Line<'_>, event: &str, page: &str, is_bot: bool, tally: &mut Tally) {
        let Some(step) = self.definition.events.iter().position(|name| **name == *event) else { return };
        let [product, value, currency] = self.values.read(line);
        let raw = match &product {
            Some(product) => Raw::Value(product),
            None => Raw::Name(page),
        };
        let product = tally.places.get([raw], || {
            let name = match product {
                Some(product) => rows::name(Some(&product)),
                None => Ok((!page.is_empty()).then(|| page.into())),
            };
            name.map_or(Place::OTHER, |name| self.products().place(name))
        });
        let kind = if is_bot { Kind::Bot } else { Kind::Step(step as u8) };
        let value = if step == PAID { read(value, currency) } else { Read::Nothing };
        tally.sales.push(Sale { product, kind, value });
    }

    /// Hands what a thread has noted to what all share.
    pub(crate) fn end_block(&self, tally: &mut Tally) {
        if !tally.sales.is_empty() {
            let mut products = self.products();
            tally.sales.drain(..).for_each(|sale| products.at(sale.product).add(sale));
        }
    }

    /// Everything that was counted; nothing is left.
    pub(crate) fn take(&self) -> Products {
        std::mem::take(&mut *self.products())
    }

    /// Everything that was counted so far.
    pub(crate) fn copy(&self) -> Products {
        self.products().clone()
    }

    fn products(&self) -> MutexGuard<'_, Products> {
        self.products.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(value: Option<Value<'_>>, currency: Option<Value<'_>>) -> Read {
    let Some(value) = value else { return Read::Nothing };
    let currency = match currency {
        None => Some(Currency::NONE),
        Some(currency) => Currency::read(&currency.decoded()),
    };
    match (currency, Amount::read(&value.decoded())) {
        (Some(currency), Some(amount)) => Read::Amount(currency, amount),
        _ => Read::Unread,
    }
}
