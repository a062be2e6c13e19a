//! The columns that files of one folder become: theirs, by name.
//!
//! A column that a file does not have is null in its rows. Of a column that has different types,
//! the one with the most rows counts, and files with another one are not merged.

use std::collections::BTreeMap;
use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, Repetition, TimeUnit};
use parquet::errors::Result;
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type, TypePtr};

/// The columns of one file, and how many rows it has.
pub(super) struct Columns<'a> {
    pub(super) schema: &'a SchemaDescPtr,
    pub(super) rows: u64,
}

/// The columns of all files, and which files do not have them.
pub(super) struct Merged {
    pub(super) schema: SchemaDescPtr,
    /// Files with another type, by their place, and what is other about them.
    pub(super) conflicts: BTreeMap<usize, String>,
}

/// Puts the columns of files together.
///
/// # Errors
/// They cannot be put together.
pub(super) fn merge(files: &[Columns<'_>]) -> Result<Merged> {
    let fields =
        || files.iter().enumerate().flat_map(|(place, file)| fields_of(file.schema).map(move |it| (place, it)));
    let mut rows: BTreeMap<(&str, String), u64> = BTreeMap::new();
    let kinds: Vec<(usize, &TypePtr, String)> = fields().map(|(place, field)| (place, field, kind(field))).collect();
    for (place, field, kind) in &kinds {
        // An empty file has a say too, if nobody else has.
        *rows.entry((field.name(), kind.clone())).or_default() += files[*place].rows + 1;
    }
    // Of two that are even, the first by its text, which is the same every time.
    let mut winners: BTreeMap<&str, (&str, u64)> = BTreeMap::new();
    for ((name, kind), &rows) in &rows {
        let winner = winners.entry(name).or_insert((kind, rows));
        if rows > winner.1 {
            *winner = (kind, rows);
        }
    }
    let mut conflicts = BTreeMap::new();
    for (place, field, kind) in &kinds {
        let winner = winners[field.name()].0;
        if kind != winner {
            let why = format!("its column {} is {kind}, and in most rows of the folder {winner}", field.name());
            conflicts.entry(*place).or_insert(why);
        }
    }
    let agreeing = files.iter().enumerate().filter(|(place, _)| !conflicts.contains_key(place));
    let agreeing: Vec<&SchemaDescPtr> = agreeing.map(|(_, file)| file.schema).collect();
    let mut found: Vec<(&TypePtr, usize, bool)> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for schema in &agreeing {
        for field in fields_of(schema) {
            let is_optional = field.get_basic_info().repetition() == Repetition::OPTIONAL;
            let place = *places.entry(field.name()).or_insert_with(|| {
                found.push((field, 0, false));
                found.len() - 1
            });
            found[place].1 += 1;
            found[place].2 |= is_optional;
        }
    }
    let fields = found.into_iter().map(|(field, files, is_optional)| {
        let is_required = field.get_basic_info().repetition() == Repetition::REQUIRED;
        // Where a file does not have it, or may leave it out, it is null.
        if is_required && (is_optional || files < agreeing.len()) { optional(field) } else { Ok(Arc::clone(field)) }
    });
    let fields = fields.collect::<Result<Vec<TypePtr>>>()?;
    let schema = Type::group_type_builder("line").with_fields(fields).build()?;
    Ok(Merged { schema: Arc::new(SchemaDescriptor::new(Arc::new(schema))), conflicts })
}

/// The columns at the root.
pub(super) fn fields_of(schema: &SchemaDescriptor) -> impl Iterator<Item = &TypePtr> {
    schema.root_schema().get_fields().iter()
}

fn optional(field: &Type) -> Result<TypePtr> {
    let info = field.get_basic_info();
    let (name, id) = (info.name(), info.has_id().then(|| info.id()));
    let (logical, converted) = (info.logical_type_ref().cloned(), info.converted_type());
    let field = match field {
        Type::PrimitiveType { physical_type, type_length, scale, precision, .. } => {
            Type::primitive_type_builder(name, *physical_type)
                .with_repetition(Repetition::OPTIONAL)
                .with_logical_type(logical)
                .with_converted_type(converted)
                .with_length(*type_length)
                .with_precision(*precision)
                .with_scale(*scale)
                .with_id(id)
                .build()
        }
        Type::GroupType { fields, .. } => Type::group_type_builder(name)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .with_converted_type(converted)
            .with_fields(fields.clone())
            .with_id(id)
            .build(),
    };
    field.map(Arc::new)
}

/// What a column at the root is, as far as its values have to do with it: two of one kind hold the
/// same values in the same way, but that one may be absent.
fn kind(field: &Type) -> String {
    let repetition = field.get_basic_info().repetition();
    let prefix = if repetition == Repetition::REPEATED { "repeated " } else { "" };
    format!("{prefix}{}", inner_kind(field))
}

fn inner_kind(field: &Type) -> String {
    let annotation = annotation(field);
    let Type::GroupType { fields, .. } = field else {
        let physical = field.get_physical_type();
        let len = match field {
            Type::PrimitiveType { type_length, .. } if *type_length > 0 => format!("({type_length})"),
            _ => String::new(),
        };
        return match annotation {
            Some(annotation) => format!("{physical}{len} {annotation}"),
            None => format!("{physical}{len}"),
        };
    };
    // The names inside of maps and lists are not the same everywhere, and mean nothing, but for those
    // of a list whose repeated group is the element itself.
    let is_named = match (annotation.as_deref(), &fields[..]) {
        (Some("MAP"), _) => false,
        (Some("LIST"), [element]) => matches!(&**element, Type::GroupType { fields, .. } if fields.len() > 1),
        _ => true,
    };
    let inner = |field: &TypePtr| {
        let repetition = field.get_basic_info().repetition().to_string().to_lowercase();
        let name = if is_named { format!(" {}", field.name()) } else { String::new() };
        match &**field {
            Type::GroupType { fields: pair, .. } if !is_named => {
                let members = pair.iter().map(|member| {
                    format!(
                        "{} {}",
                        member.get_basic_info().repetition().to_string().to_lowercase(),
                        inner_kind(member)
                    )
                });
                format!("{repetition} ({})", members.collect::<Vec<_>>().join(", "))
            }
            other => format!("{repetition}{name} {}", inner_kind(other)),
        }
    };
    let members = fields.iter().map(inner).collect::<Vec<_>>().join(", ");
    format!("{} of {members}", annotation.unwrap_or_else(|| "group".to_owned()))
}

/// How the values are to be understood, whichever of the two ways says so.
fn annotation(field: &Type) -> Option<String> {
    let info = field.get_basic_info();
    let decimal = |scale: i32, precision: i32| Some(format!("DECIMAL({precision},{scale})"));
    let logical = match info.logical_type_ref() {
        // All bits of the physical type, which is what it is without an annotation too.
        Some(LogicalType::Integer(integer)) if integer.is_signed && integer.bit_width >= 32 => return None,
        Some(LogicalType::Decimal(it)) => return decimal(it.scale, it.precision),
        Some(logical) => logical.clone(),
        None => match (info.converted_type(), field) {
            (ConvertedType::NONE | ConvertedType::INT_32 | ConvertedType::INT_64, _) => return None,
            (ConvertedType::DECIMAL, Type::PrimitiveType { scale, precision, .. }) => {
                return decimal(*scale, *precision);
            }
            (ConvertedType::UTF8, _) => LogicalType::String,
            (ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE, _) => LogicalType::Map,
            (ConvertedType::LIST, _) => LogicalType::List,
            (ConvertedType::ENUM, _) => LogicalType::Enum,
            (ConvertedType::JSON, _) => LogicalType::Json,
            (ConvertedType::BSON, _) => LogicalType::Bson,
            (ConvertedType::DATE, _) => LogicalType::Date,
            (ConvertedType::TIME_MILLIS, _) => LogicalType::time(true, TimeUnit::MILLIS),
            (ConvertedType::TIME_MICROS, _) => LogicalType::time(true, TimeUnit::MICROS),
            (ConvertedType::TIMESTAMP_MILLIS, _) => LogicalType::timestamp(true, TimeUnit::MILLIS),
            (ConvertedType::TIMESTAMP_MICROS, _) => LogicalType::timestamp(true, TimeUnit::MICROS),
            (ConvertedType::INT_8, _) => LogicalType::integer(8, true),
            (ConvertedType::INT_16, _) => LogicalType::integer(16, true),
            (ConvertedType::UINT_8, _) => LogicalType::integer(8, false),
            (ConvertedType::UINT_16, _) => LogicalType::integer(16, false),
            (ConvertedType::UINT_32, _) => LogicalType::integer(32, false),
            (ConvertedType::UINT_64, _) => LogicalType::integer(64, false),
            (other, _) => return Some(other.to_string()),
        },
    };
    Some(match logical {
        LogicalType::String => "STRING".to_owned(),
        LogicalType::Map => "MAP".to_owned(),
        LogicalType::List => "LIST".to_owned(),
        LogicalType::Timestamp(time) => {
            let zone = if time.is_adjusted_to_u_t_c { "UTC" } else { "local" };
            format!("TIMESTAMP({:?},{zone})", time.unit)
        }
        other => format!("{other:?}").to_uppercase(),
    })
}

#[cfg(test)]
mod tests {
    use parquet::schema::parser::parse_message_type;

    use super::*;

    fn schema(fields: &str) -> SchemaDescPtr {
        let schema = parse_message_type(&format!("message any {{ {fields} }}")).unwrap();
        Arc::new(SchemaDescriptor::new(Arc::new(schema)))
    }

    fn merged(files: &[(&str, u64)]) -> (Vec<String>, BTreeMap<usize, String>) {
        let schemas: Vec<(SchemaDescPtr, u64)> = files.iter().map(|(fields, rows)| (schema(fields), *rows)).collect();
        let files: Vec<Columns<'_>> = schemas.iter().map(|(schema, rows)| Columns { schema, rows: *rows }).collect();
        let merged = merge(&files).unwrap();
        let field = |field: &TypePtr| format!("{} {}", field.get_basic_info().repetition(), field.name());
        (fields_of(&merged.schema).map(field).collect(), merged.conflicts)
    }

    #[test]
    fn columns_are_put_together_by_name() {
        let (fields, conflicts) = merged(&[
            ("required int64 a; optional binary b (UTF8);", 1),
            ("required binary c (STRING); required int64 a (INT_64); optional binary b (STRING);", 1),
            ("optional binary b (STRING); required int64 a (INTEGER(64,true));", 1),
        ]);
        assert_eq!(fields, ["REQUIRED a", "OPTIONAL b", "OPTIONAL c"]);
        assert!(conflicts.is_empty(), "{conflicts:?}");
    }

    #[test]
    fn the_type_of_most_rows_counts() {
        let (fields, conflicts) = merged(&[
            ("required binary a (STRING); required int64 only_here;", 5),
            ("required int64 a;", 3),
            ("optional int64 a;", 4),
            ("required int32 b;", 0),
        ]);
        assert_eq!(fields, ["OPTIONAL a", "OPTIONAL b"]);
        assert_eq!(conflicts.keys().collect::<Vec<_>>(), [&0]);
        assert_eq!(conflicts[&0], "its column a is BYTE_ARRAY STRING, and in most rows of the folder INT64");
    }

    #[test]
    fn what_is_understood_differently_is_another_type() {
        for (one, other) in [
            ("optional int64 a (TIMESTAMP(MILLIS,true));", "optional int64 a (TIMESTAMP(MILLIS,false));"),
            ("optional int64 a (TIMESTAMP(MILLIS,true));", "optional int64 a (TIMESTAMP(MICROS,true));"),
            ("optional binary a (STRING);", "optional binary a;"),
            ("optional int32 a (DECIMAL(9,2));", "optional int32 a (DECIMAL(9,3));"),
            ("optional fixed_len_byte_array(4) a;", "optional fixed_len_byte_array(5) a;"),
            ("optional group a { optional int32 b; }", "optional group a { optional int32 c; }"),
            ("optional group a { optional int32 b; }", "optional group a { required int32 b; }"),
            ("optional binary a (STRING);", "repeated binary a (STRING);"),
        ] {
            assert_eq!(merged(&[(one, 2), (other, 1)]).1.len(), 1, "{one} {other}");
        }
        for (one, other) in [
            ("optional int64 a (TIMESTAMP_MILLIS);", "required int64 a (TIMESTAMP(MILLIS,true));"),
            (
                "optional group a (MAP) { repeated group map (MAP_KEY_VALUE) { required binary k (UTF8); optional binary v (UTF8); } }",
                "optional group a (MAP) { repeated group key_value { required binary key (STRING); optional binary value (STRING); } }",
            ),
        ] {
            assert_eq!(merged(&[(one, 2), (other, 1)]).1, BTreeMap::new(), "{one} {other}");
        }
    }
}
