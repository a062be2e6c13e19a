//! The schema of a file: a table's columns as Parquet has them.

use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as PhysicalType};
use parquet::errors::Result;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type, TypePtr};
use pixel_engine_core::compress::Codec;
use pixel_engine_log::encode::row::Row;
use pixel_engine_log::field::Field;
use pixel_engine_log::select::Selector;
use pixel_engine_log::table::{Column, ColumnType, Origin, Table};

use rayon::slice::ParallelSliceMut;

use super::bounds::Order;
use super::chunk::{Leaf, Part};

/// How every file of a table is laid out.
pub(crate) struct Layout {
    pub(crate) schema: TypePtr,
    pub(crate) descriptor: SchemaDescPtr,
    pub(crate) leaves: Vec<Leaf>,
    pub(crate) codec: Codec,
    pub(crate) properties: WriterPropertiesPtr,
    /// The column by which the rows of a row group are sorted, and how its values compare.
    sorted_by: Option<(usize, Order)>,
}

impl Layout {
    /// Of the table's columns but those that folders are named after.
    ///
    /// # Errors
    /// The table has a column that Parquet cannot have.
    pub(crate) fn new(table: &Table, codec: Codec) -> Result<Layout> {
        let columns = || table.columns().iter().enumerate().filter(|(_, column)| !column.is_folder());
        let fields = columns().map(|(_, column)| Ok(Arc::new(field(column)?))).collect::<Result<Vec<TypePtr>>>()?;
        let schema: TypePtr = Arc::new(Type::group_type_builder("line").with_fields(fields).build()?);
        let leaves: Vec<Leaf> = columns().flat_map(|(index, column)| leaves(index, column)).collect();
        let sort = table.sort_column().and_then(|wanted| leaves.iter().position(|leaf| leaf.column == wanted));
        let sorting =
            |leaf: usize| vec![SortingColumn { column_idx: leaf as i32, descending: false, nulls_first: false }];
        Ok(Layout {
            descriptor: Arc::new(SchemaDescriptor::new(Arc::clone(&schema))),
            schema,
            sorted_by: sort.map(|leaf| (leaves[leaf].column, leaves[leaf].order())),
            leaves,
            codec,
            properties: Arc::new(
                WriterProperties::builder().set_created_by(created_by()).set_sorting_columns(sort.map(sorting)).build(),
            ),
        })
    }

    /// Whether the rows of a row group have an order.
    pub(crate) fn is_sorted(&self) -> bool {
        self.sorted_by.is_some()
    }

    /// Puts the rows of a row group in order, those without a value last.
    pub(crate) fn sort(&self, rows: &mut [Row<'_>]) {
        let Some((column, order)) = self.sorted_by else { return };
        rows.par_sort_by(|one, other| match (one.value(column), other.value(column)) {
            (Some(one), Some(other)) => order.compare(one, other),
            (one, other) => one.is_none().cmp(&other.is_none()),
        });
    }
}

/// What files say of the program that wrote them.
pub(crate) fn created_by() -> String {
    format!("pixel-engine version {} (build release)", env!("CARGO_PKG_VERSION"))
}

fn field(column: &Column) -> Result<Type> {
    let primitive = |name: &str, physical: PhysicalType, logical: Option<LogicalType>, repetition: Repetition| {
        Type::primitive_type_builder(name, physical).with_logical_type(logical).with_repetition(repetition).build()
    };
    let (name, optional) = (column.name(), Repetition::OPTIONAL);
    let text =
        |name: &str, repetition| primitive(name, PhysicalType::BYTE_ARRAY, Some(LogicalType::String), repetition);
    match column.column_type() {
        ColumnType::Timestamp => {
            let millis = LogicalType::timestamp(true, TimeUnit::MILLIS);
            primitive(name, PhysicalType::INT64, Some(millis), optional)
        }
        ColumnType::Integer => primitive(name, PhysicalType::INT64, None, optional),
        ColumnType::Decimal => primitive(name, PhysicalType::DOUBLE, None, optional),
        ColumnType::Text => text(name, optional),
        ColumnType::Map => {
            let pair = vec![Arc::new(text("key", Repetition::REQUIRED)?), Arc::new(text("value", optional)?)];
            let pairs = Type::group_type_builder("key_value").with_repetition(Repetition::REPEATED).with_fields(pair);
            Type::group_type_builder(name)
                .with_logical_type(Some(LogicalType::Map))
                .with_repetition(optional)
                .with_fields(vec![Arc::new(pairs.build()?)])
                .build()
        }
    }
}

fn leaves(index: usize, column: &Column) -> Vec<Leaf> {
    let is_id = *column.origin() == Origin::Value(Selector::Field(Field::XEdgeRequestId));
    let is_promoted = matches!(column.origin(), Origin::Value(Selector::Query(_)));
    let leaf = |part| Leaf {
        column: index,
        part,
        column_type: column.column_type(),
        // No two requests have the same id, and few the same time.
        has_dictionary: !is_id && column.column_type() != ColumnType::Timestamp,
        has_filter: is_promoted,
    };
    match column.column_type() {
        ColumnType::Map => vec![leaf(Part::Names), leaf(Part::Texts)],
        _ => vec![leaf(Part::Value)],
    }
}
