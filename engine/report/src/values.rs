//! The values of a line that somebody looks for, in one pass over the query.

use pixel_engine_log::line::Line;
use pixel_engine_log::select::Selector;

use crate::beacon::Value;

/// Where `N` values are: of each, the first field or parameter that a line has counts.
#[derive(Clone, Debug)]
pub(crate) struct Values<const N: usize> {
    parameters: Vec<Wanted<Box<[u8]>>>,
    /// The places in `parameters` of names that begin with this byte.
    by_first_byte: Box<[Vec<u16>; 256]>,
    fields: Vec<Wanted<Selector>>,
}

#[derive(Clone, Debug)]
struct Wanted<T> {
    what: T,
    /// Which of the values it is.
    slot: usize,
    /// Of a value's selectors the lower one counts.
    rank: usize,
}

impl<const N: usize> Values<N> {
    pub(crate) fn new(of: [&[Selector]; N]) -> Values<N> {
        let mut values =
            Values { parameters: Vec::new(), by_first_byte: Box::new([const { Vec::new() }; 256]), fields: Vec::new() };
        for (slot, selectors) in of.into_iter().enumerate() {
            for (rank, selector) in selectors.iter().enumerate() {
                match selector {
                    Selector::Query(name) => {
                        // A name is never empty.
                        let place = values.parameters.len() as u16;
                        values.by_first_byte[usize::from(name.as_bytes()[0])].push(place);
                        values.parameters.push(Wanted { what: name.as_bytes().into(), slot, rank });
                    }
                    field => values.fields.push(Wanted { what: field.clone(), slot, rank }),
                }
            }
        }
        values
    }

    /// The values of the line. An empty one is as good as none; of a parameter that comes twice,
    /// the last one counts.
    #[inline]
    pub(crate) fn read<'a>(&self, line: &Line<'a>) -> [Option<Value<'a>>; N] {
        let mut values = [None; N];
        let mut ranks = [usize::MAX; N];
        let encoding = line.query_encoding();
        for parameter in line.query().into_iter().flatten() {
            let name = parameter.name_decoded();
            let Some(&first) = name.first() else { continue };
            for &place in &self.by_first_byte[usize::from(first)] {
                let Wanted { what, slot, rank } = &self.parameters[usize::from(place)];
                if *name == **what && *rank <= ranks[*slot] && parameter.value.is_some_and(|value| !value.is_empty()) {
                    ranks[*slot] = *rank;
                    values[*slot] = Some(Value::Parameter(parameter, encoding));
                }
            }
        }
        for Wanted { what, slot, rank } in &self.fields {
            if *rank < ranks[*slot]
                && let Some(text) = what.text(line)
            {
                ranks[*slot] = *rank;
                values[*slot] = Some(Value::Field(text));
            }
        }
        values
    }
}
