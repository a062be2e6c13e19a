//! A shop: carts that were left, who left by the front page, and what products bring.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use super::visitors::{FunnelReport, people};
use super::{Definition, View, percent};
use crate::beacons::page_hash;
use crate::money::{Amount, Currency};
use crate::rows::{MAX_NAME_LEN, MAX_ROWS};
use crate::settings::Defined;
use crate::shop::{DefinedShop, MAX_CURRENCIES, Sales};
use crate::state::{Dimension, State};

/// What a shop wants to know; all of it without bots, and no number is scaled.
#[derive(Clone, Debug, Serialize)]
pub struct Shop {
    /// What each number means.
    pub definitions: Vec<Definition>,
    /// Carts that were left; none if the funnel has no steps for carts and orders.
    pub abandoned_carts: Option<AbandonedCarts>,
    /// Sessions that ended on the front page.
    pub front_page_exits: FrontPageExits,
    /// The products with the most orders first, then by carts, views and their names.
    pub products: Vec<Product>,
    /// How many products have no row here, as only so many are shown.
    pub products_not_shown: u64,
    /// The sum of these.
    pub not_shown: ProductCounts,
    /// The sum of the products that came when there were 100,000 already, and of those with a name
    /// of more than 256 bytes.
    pub other: ProductCounts,
    /// The sum of all products.
    pub total: ProductCounts,
    /// What to know about these numbers.
    pub notes: Vec<String>,
}

/// Visitors that put something into their cart, and whether they paid.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AbandonedCarts {
    /// Visitors that reached the step of the cart.
    pub visitors: u64,
    /// Those of them that reached the step of the order.
    pub paid: u64,
    /// Those that did not.
    pub abandoned: u64,
    /// These in percent of all that reached the cart.
    pub percent: f64,
    /// The standard error of `abandoned`, in percent; 0 when all visitors were kept.
    pub error_percent: f64,
}

/// Sessions by whether they ended on the front page.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrontPageExits {
    /// Sessions with any page.
    pub sessions: u64,
    /// Those whose last page was a front page.
    pub exits: u64,
    /// These in percent of the sessions.
    pub percent: f64,
    /// The standard error of `exits`, in percent; 0 when all visitors were kept.
    pub error_percent: f64,
    /// Whether every front page is known: not if the table of pages had no room for all.
    pub knows_all_pages: bool,
}

/// A product.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Product {
    /// The product or the page; none for events that name neither.
    pub product: Option<String>,
    /// What was counted.
    #[serde(flatten)]
    pub counts: ProductCounts,
}

/// Events of products.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProductCounts {
    /// Events of views.
    pub views: u64,
    /// Events of carts.
    pub carts: u64,
    /// Events of checkouts.
    pub checkouts: u64,
    /// Events of orders.
    pub paid: u64,
    /// What orders brought, by currency; exact.
    pub revenue: Vec<Revenue>,
    /// Orders without a value.
    pub without_value: u64,
    /// Orders whose value or currency could not be read.
    pub unread_values: u64,
    /// Events of bots, which are in no other number.
    pub bots: u64,
}

/// A sum of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Revenue {
    /// The currency; none for values that name none.
    pub currency: Option<String>,
    /// The sum as a decimal number.
    pub amount: String,
}

/// Sums over products.
#[derive(Default)]
struct Sum {
    events: [u64; 4],
    bots: u64,
    revenue: BTreeMap<Currency, Amount>,
    without_value: u64,
    unread_values: u64,
}

impl Sum {
    fn of<'a>(all: impl IntoIterator<Item = &'a Sales>) -> ProductCounts {
        let mut sum = Sum::default();
        for sales in all {
            sum.events.iter_mut().zip(sales.events).for_each(|(count, more)| *count += more);
            sum.bots += sales.bots;
            sum.without_value += sales.without_value;
            sum.unread_values += sales.unread_values;
            for (currency, amount) in &sales.revenue {
                *sum.revenue.entry(*currency).or_default() += *amount;
            }
        }
        let revenue = sum.revenue.into_iter().map(|(currency, amount)| Revenue {
            currency: currency.letters().map(str::to_owned),
            amount: amount.to_string(),
        });
        let [views, carts, checkouts, paid] = sum.events;
        ProductCounts {
            views,
            carts,
            checkouts,
            paid,
            revenue: revenue.collect(),
            without_value: sum.without_value,
            unread_values: sum.unread_values,
            bots: sum.bots,
        }
    }
}

pub(super) fn shop(state: &State, funnel: Option<&FunnelReport>, view: &View) -> Option<Shop> {
    let (products, defined) = (state.products.as_ref()?, state.defined.shop.as_ref()?);
    let mut rows: Vec<(&Option<Box<str>>, &Sales)> = products.named().collect();
    let order = |sales: &Sales| sales.events.map(std::cmp::Reverse);
    rows.sort_by(|(one, of_one), (other, of_other)| {
        order(of_one).iter().rev().cmp(order(of_other).iter().rev()).then_with(|| one.cmp(other))
    });
    let (shown, not_shown) = rows.split_at(view.top.min(rows.len()));
    let abandoned_carts = funnel.and_then(|funnel| abandoned_carts(state, defined, funnel));
    let total = Sum::of(rows.iter().map(|(_, sales)| *sales).chain([products.other()]));
    let other = Sum::of([products.other()]);
    Some(Shop {
        definitions: definitions(&state.defined, defined),
        front_page_exits: front_page_exits(state),
        products: shown
            .iter()
            .map(|(name, sales)| Product { product: name.as_deref().map(str::to_owned), counts: Sum::of([*sales]) })
            .collect(),
        products_not_shown: not_shown.len() as u64,
        not_shown: Sum::of(not_shown.iter().map(|(_, sales)| *sales)),
        notes: notes(state, abandoned_carts.is_some(), &total, &other),
        abandoned_carts,
        other,
        total,
    })
}

fn abandoned_carts(state: &State, defined: &DefinedShop, funnel: &FunnelReport) -> Option<AbandonedCarts> {
    let [_, cart, _, paid] = &defined.events;
    let step = |event: &str| funnel.steps.iter().position(|step| step.step == event);
    let (cart, paid) = (step(cart)?, step(paid)?);
    if paid < cart {
        return None;
    }
    let (visitors, paid) = (funnel.steps[cart].visitors, funnel.steps[paid].visitors);
    let abandoned = visitors - paid;
    let sample = &state.visitors;
    Some(AbandonedCarts {
        visitors,
        paid,
        abandoned,
        percent: percent(abandoned, visitors),
        error_percent: 100.0 * sample.error(abandoned >> sample.level),
    })
}

/// A page is a front page if its path is `/`.
fn is_front_page(page: &str) -> bool {
    page.find('/').is_some_and(|slash| slash + 1 == page.len())
}

fn front_page_exits(state: &State) -> FrontPageExits {
    let pages = state.top(Dimension::Page);
    let rows = pages.rows().into_iter().filter(|row| is_front_page(&row.name));
    let front_pages: HashSet<u64> = rows.map(|row| page_hash(&row.name)).collect();
    let sample = &state.visitors;
    let (mut sessions, mut exits) = (0, 0);
    for exit in people(sample).flat_map(|visitor| &visitor.sessions).filter_map(|session| session.exit.page()) {
        sessions += 1;
        exits += u64::from(front_pages.contains(&exit));
    }
    FrontPageExits {
        sessions: sample.estimate(sessions),
        exits: sample.estimate(exits),
        percent: percent(exits, sessions),
        error_percent: 100.0 * sample.error(exits),
        knows_all_pages: pages.error() == 0,
    }
}

fn definitions(all: &Defined, defined: &DefinedShop) -> Vec<Definition> {
    let [view, cart, checkout, paid] = &defined.events;
    let definition = |name, definition: String| Definition { name, definition };
    vec![
        definition(
            "abandoned_carts",
            format!(
                "visitors that reached the step {cart} of the funnel {} and not the step {paid}",
                all.funnel.as_deref().unwrap_or_default()
            ),
        ),
        definition("front_page_exits", "sessions whose last page has the path /".to_owned()),
        definition(
            "products",
            format!("lines by {}; by the page of those that have none of them; without bots", defined.product),
        ),
        definition(
            "views, carts, checkouts, paid",
            format!("lines whose event is {view}, {cart}, {checkout}, {paid}, whatever the answer was"),
        ),
        definition(
            "revenue",
            format!(
                "the sum of {} over the lines of paid, by {}; exact decimals. An order that is reported twice is in it \
                 twice",
                defined.value, defined.currency
            ),
        ),
    ]
}

fn notes(state: &State, has_carts: bool, total: &ProductCounts, other: &ProductCounts) -> Vec<String> {
    let mut notes = Vec::new();
    if !has_carts {
        notes
            .push("the funnel has no step for the cart followed by one for the order: carts cannot be told".to_owned());
    }
    if total.without_value > 0 {
        notes.push(format!("{} orders say no value and are not in the revenue", total.without_value));
    }
    if total.unread_values > 0 {
        notes.push(format!(
            "{} orders are not in the revenue: their value is no number such as 12.90, their currency is not of three \
             letters, or a product has more than {MAX_CURRENCIES} of them",
            total.unread_values
        ));
    }
    if other.views + other.carts + other.checkouts + other.paid + other.bots > 0 {
        notes.push(format!(
            "more than {MAX_ROWS} products, or names of more than {MAX_NAME_LEN} bytes: these are in `other`"
        ));
    }
    if state.defined.sampling < 100.0 {
        notes.push(format!("the log holds {} % of the requests: these numbers are not scaled", state.defined.sampling));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_pages_have_the_path_slash() {
        assert!(["shop.example/", "/", "shop.example:8080/"].into_iter().all(is_front_page));
        assert!(!["shop.example/a", "/a/", "a", ""].into_iter().any(is_front_page));
    }
}
