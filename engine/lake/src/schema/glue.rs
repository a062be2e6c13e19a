//! The table of Glue: `TableInput` of its CreateTable, which CloudFormation's `AWS::Glue::Table` takes
//! in the same form.

use std::collections::BTreeMap;

use pixel_engine_log::table::ColumnType;
use serde::Serialize;

use super::{Column, Definition, Form, Layout, Place, PlaceError};

/// A table as Glue takes it. Source: `TableInput` in the AWS Glue Web API Reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct TableInput {
    /// What it is called.
    pub name: String,
    /// That its files are its own, not Glue's.
    pub table_type: &'static str,
    /// What the files are, and how the folders follow from a query.
    pub parameters: BTreeMap<String, String>,
    /// The columns that are folders, outermost first.
    pub partition_keys: Vec<GlueColumn>,
    /// The other columns, and how to read them.
    pub storage_descriptor: StorageDescriptor,
}

/// Where the files are and how to read them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct StorageDescriptor {
    /// The columns, in order.
    pub columns: Vec<GlueColumn>,
    /// `s3://BUCKET/PREFIX/`.
    pub location: String,
    /// The class of Hive that reads files.
    pub input_format: &'static str,
    /// The class of Hive that writes them.
    pub output_format: &'static str,
    /// What turns bytes into values.
    pub serde_info: SerdeInfo,
}

/// What turns bytes into values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct SerdeInfo {
    /// Its class.
    pub serialization_library: &'static str,
    /// What it is told.
    pub parameters: BTreeMap<String, String>,
}

/// A column with its type in Hive's language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct GlueColumn {
    /// What it is called.
    pub name: String,
    /// `string`, `bigint`, `double`, `timestamp`, `map<string,string>` or `int`.
    #[serde(rename = "Type")]
    pub column_type: &'static str,
}

/// The table of those files there.
///
/// # Errors
/// The files are not in S3.
pub fn glue(definition: &Definition, place: &Place) -> Result<TableInput, PlaceError> {
    let Place { table, location, .. } = place;
    if location.strip_prefix("s3://").is_none_or(|rest| rest.starts_with('/')) {
        return Err(PlaceError::NotS3(location.clone()));
    }
    let (input_format, output_format, serialization_library) = classes(definition.form);
    let mut partition_keys = Vec::new();
    if definition.by_time {
        partition_keys.extend([column("dt", "string"), column("hour", "int")]);
    }
    partition_keys.extend(definition.folders.iter().map(|name| column(name, "string")));
    let columns = definition.columns.iter().map(|it| column(&it.name, type_name(it.column_type))).collect();
    Ok(TableInput {
        name: table.clone(),
        table_type: "EXTERNAL_TABLE",
        parameters: parameters(definition, place),
        partition_keys,
        storage_descriptor: StorageDescriptor {
            columns,
            location: location.clone(),
            input_format,
            output_format,
            serde_info: SerdeInfo { serialization_library, parameters: serde_parameters(definition) },
        },
    })
}

fn column(name: &str, column_type: &'static str) -> GlueColumn {
    GlueColumn { name: name.to_owned(), column_type }
}

fn type_name(column_type: ColumnType) -> &'static str {
    match column_type {
        ColumnType::Timestamp => "timestamp",
        ColumnType::Integer => "bigint",
        ColumnType::Decimal => "double",
        ColumnType::Text => "string",
        ColumnType::Map => "map<string,string>",
    }
}

fn classes(form: Form) -> (&'static str, &'static str, &'static str) {
    const TEXT_INPUT: &str = "org.apache.hadoop.mapred.TextInputFormat";
    const TEXT_OUTPUT: &str = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat";
    match form {
        Form::Parquet => (
            "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
            "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
            "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
        ),
        Form::JsonLines => (TEXT_INPUT, TEXT_OUTPUT, "org.openx.data.jsonserde.JsonSerDe"),
        Form::Tsv => (TEXT_INPUT, TEXT_OUTPUT, "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"),
    }
}

fn owned<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn serde_parameters(definition: &Definition) -> BTreeMap<String, String> {
    match definition.form {
        Form::Parquet => owned([("serialization.format", "1")]),
        Form::Tsv => owned([("field.delim", "\t"), ("serialization.format", "\t")]),
        Form::JsonLines => {
            let is_renamed = |column: &&Column| column.name != column.key;
            let renamed = definition.columns.iter().filter(is_renamed);
            renamed.map(|column| (format!("mapping.{}", column.name), column.key.clone())).collect()
        }
    }
}

/// Source: *Partition projection* in the Amazon Athena User Guide.
fn parameters(definition: &Definition, place: &Place) -> BTreeMap<String, String> {
    let classification = match definition.form {
        Form::Parquet => "parquet",
        Form::JsonLines => "json",
        Form::Tsv => "csv",
    };
    let mut parameters = owned([("EXTERNAL", "TRUE"), ("classification", classification)]);
    let mut template = place.location.clone();
    if definition.by_time {
        let (format, since, folders) = match definition.layout {
            Layout::Hive => ("yyyy-MM-dd", place.since.strftime("%Y-%m-%d"), "dt=${dt}/hour=${hour}/"),
            Layout::Date => ("yyyy/MM/dd", place.since.strftime("%Y/%m/%d"), "${dt}/${hour}/"),
        };
        let range = format!("{since},NOW");
        parameters.extend(owned([
            ("projection.dt.type", "date"),
            ("projection.dt.format", format),
            ("projection.dt.range", &range),
            ("projection.dt.interval", "1"),
            ("projection.dt.interval.unit", "DAYS"),
            ("projection.hour.type", "integer"),
            ("projection.hour.range", "0,23"),
            ("projection.hour.digits", "2"),
        ]));
        template.push_str(folders);
    }
    for name in &definition.folders {
        parameters.insert(format!("projection.{name}.type"), "injected".to_owned());
        template.push_str(&format!("{name}=${{{name}}}/"));
    }
    if definition.by_time || !definition.folders.is_empty() {
        parameters.extend(owned([("projection.enabled", "true"), ("storage.location.template", &template)]));
    }
    parameters
}
