//! An event as simd-json leaves it: all values one after the other, each object and list before
//! what is in it. Text is that of the event's own bytes.

use simd_json::Node;

/// A value with what is in it, as nodes of a tape.
pub(super) type Nodes<'tape, 'event> = &'tape [Node<'event>];

/// The members of an object, in their order; none if it is something else.
pub(super) fn members<'tape, 'event>(
    value: Nodes<'tape, 'event>,
) -> impl Iterator<Item = (&'event str, Nodes<'tape, 'event>)> {
    let mut rest = match value {
        [Node::Object { count, .. }, inside @ ..] => &inside[..*count],
        _ => &[],
    };
    std::iter::from_fn(move || {
        let (Node::String(key), behind) = rest.split_first()? else { return None };
        let (value, others) = behind.split_at(len(behind.first()?));
        rest = others;
        Some((*key, value))
    })
}

/// The value of the object's member of that name.
pub(super) fn member<'tape, 'event>(value: Nodes<'tape, 'event>, name: &str) -> Option<Nodes<'tape, 'event>> {
    members(value).find(|member| member.0 == name).map(|member| member.1)
}

/// The elements of a list; `None` if it is something else.
pub(super) fn elements<'tape, 'event>(
    value: Nodes<'tape, 'event>,
) -> Option<impl Iterator<Item = Nodes<'tape, 'event>>> {
    let [Node::Array { count, .. }, inside @ ..] = value else { return None };
    let mut rest = &inside[..*count];
    Some(std::iter::from_fn(move || {
        let (value, others) = rest.split_at(len(rest.first()?));
        rest = others;
        Some(value)
    }))
}

/// The text; `None` if it is something else.
pub(super) fn text<'event>(value: Nodes<'_, 'event>) -> Option<&'event str> {
    match value {
        [Node::String(text)] => Some(text),
        _ => None,
    }
}

/// How many nodes the value that begins with this one has.
fn len(first: &Node<'_>) -> usize {
    match first {
        Node::Object { count, .. } | Node::Array { count, .. } => 1 + count,
        Node::String(_) | Node::Static(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_behind_objects_and_lists_of_any_depth() {
        let mut event = br#"{"a":[{"x":[[],{}]},"\u0041"],"b":{"c":1,"d":"\n"},"e":null,"f":"end"}"#.to_vec();
        let tape = simd_json::to_tape(&mut event).unwrap().0;
        let keys: Vec<&str> = members(&tape).map(|member| member.0).collect();
        assert_eq!(keys, ["a", "b", "e", "f"]);
        let value = |name| members(&tape).find(|member| member.0 == name).unwrap().1;
        assert_eq!(text(value("f")), Some("end"));
        assert_eq!(elements(value("a")).unwrap().map(text).collect::<Vec<_>>(), [None, Some("A")]);
        assert_eq!(members(value("b")).map(|(key, value)| (key, text(value))).last(), Some(("d", Some("\n"))));
        assert!(elements(value("b")).is_none() && members(value("a")).next().is_none() && text(value("e")).is_none());
    }
}
