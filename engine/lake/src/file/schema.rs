//! How a file is laid out: its columns, those of a table as Parquet has them, and how each is written.

use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as PhysicalType};
use parquet::errors::Result;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type, TypePtr};
use pixel_engine_core::compress::Codec;
use pixel_engine_log::encode::row::Row;
use pixel_engine_log::field::Field;
use pixel_engine_log::select::Selector;
use pixel_engine_log::table::{Column, ColumnType, Origin, Table};

use rayon::slice::ParallelSliceMut;

use super::bounds::Order;
use super::chunk::Settings;
use super::leaf::{Leaf, Part};

/// How a file is laid out.
pub(crate) struct Layout {
    pub(crate) schema: SchemaDescPtr,
    /// Of each leaf.
    pub(crate) settings: Vec<Settings>,
    pub(crate) codec: Codec,
    pub(crate) properties: WriterPropertiesPtr,
}

impl Layout {
    /// Of these columns. `notes` are what programs have noted about the file.
    pub(crate) fn new(
        schema: SchemaDescPtr,
        settings: Vec<Settings>,
        codec: Codec,
        sorting: Option<Vec<SortingColumn>>,
        notes: Option<Vec<KeyValue>>,
    ) -> Layout {
        let properties = WriterProperties::builder()
            .set_created_by(created_by())
            .set_sorting_columns(sorting)
            .set_key_value_metadata(notes);
        Layout { schema, settings, codec, properties: Arc::new(properties.build()) }
    }
}

/// How every file of a table is laid out.
pub(crate) struct TableLayout {
    pub(crate) file: Arc<Layout>,
    /// Where its leaves are in rows.
    pub(crate) leaves: Vec<Leaf>,
    /// The column by which the rows of a row group are sorted, and how its values compare.
    sorted_by: Option<(usize, Order)>,
}

impl TableLayout {
    /// Of the table's columns but those that folders are named after.
    ///
    /// # Errors
    /// The table has a column that Parquet cannot have.
    pub(crate) fn new(table: &Table, codec: Codec) -> Result<TableLayout> {
        let columns = || table.columns().iter().enumerate().filter(|(_, column)| !column.is_folder());
        let fields = columns().map(|(_, column)| Ok(Arc::new(field(column)?))).collect::<Result<Vec<TypePtr>>>()?;
        let schema: TypePtr = Arc::new(Type::group_type_builder("line").with_fields(fields).build()?);
        let schema = Arc::new(SchemaDescriptor::new(schema));
        let leaves: Vec<(Leaf, Settings)> = columns().flat_map(|(index, column)| leaves(index, column)).collect();
        let (leaves, settings): (Vec<Leaf>, Vec<Settings>) = leaves.into_iter().unzip();
        let sort = table.sort_column().and_then(|wanted| leaves.iter().position(|leaf| leaf.column == wanted));
        let sorting =
            |leaf: usize| vec![SortingColumn { column_idx: leaf as i32, descending: false, nulls_first: false }];
        Ok(TableLayout {
            sorted_by: sort.map(|leaf| (leaves[leaf].column, Order::of(&schema.column(leaf)))),
            leaves,
            file: Arc::new(Layout::new(schema, settings, codec, sort.map(sorting), None)),
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
fn created_by() -> String {
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

fn leaves(index: usize, column: &Column) -> Vec<(Leaf, Settings)> {
    let is_id = *column.origin() == Origin::Value(Selector::Field(Field::XEdgeRequestId));
    let is_promoted = matches!(column.origin(), Origin::Value(Selector::Query(_)));
    let leaf = |part| {
        // No two requests have the same id, and few the same time.
        let has_dictionary = !is_id && column.column_type() != ColumnType::Timestamp;
        (Leaf { column: index, part }, Settings { has_dictionary, has_filter: is_promoted })
    };
    match column.column_type() {
        ColumnType::Map => vec![leaf(Part::Names), leaf(Part::Texts)],
        _ => vec![leaf(Part::Value)],
    }
}
