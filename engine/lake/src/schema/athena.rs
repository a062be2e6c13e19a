//! The statement that makes a table in Athena, in the language of Hive that it takes for that.

use std::fmt::Write;

use super::glue::{GlueColumn, StorageDescriptor, TableInput};

/// `CREATE EXTERNAL TABLE` for that table, in that database or in the one that is used.
pub fn athena(table: &TableInput, database: Option<&str>) -> String {
    let StorageDescriptor { columns, location, input_format, output_format, serde_info } = &table.storage_descriptor;
    let database = database.map(|database| format!("`{database}`.")).unwrap_or_default();
    let mut sql = format!("CREATE EXTERNAL TABLE IF NOT EXISTS {database}`{}` (\n{}\n)\n", table.name, list(columns));
    if !table.partition_keys.is_empty() {
        write(&mut sql, format_args!("PARTITIONED BY (\n{}\n)\n", list(&table.partition_keys)));
    }
    write(&mut sql, format_args!("ROW FORMAT SERDE '{}'\n", serde_info.serialization_library));
    if !serde_info.parameters.is_empty() {
        write(&mut sql, format_args!("WITH SERDEPROPERTIES (\n{}\n)\n", properties(&serde_info.parameters)));
    }
    write(&mut sql, format_args!("STORED AS INPUTFORMAT '{input_format}'\nOUTPUTFORMAT '{output_format}'\n"));
    // That it is external, the statement says itself.
    let parameters = table.parameters.iter().filter(|(name, _)| *name != "EXTERNAL");
    write(&mut sql, format_args!("LOCATION '{location}'\nTBLPROPERTIES (\n{}\n);\n", properties(parameters)));
    sql
}

fn write(sql: &mut String, text: std::fmt::Arguments<'_>) {
    sql.write_fmt(text).expect("a string takes everything");
}

fn list(columns: &[GlueColumn]) -> String {
    let columns = columns.iter().map(|column| format!("  `{}` {}", column.name, column.column_type));
    columns.collect::<Vec<_>>().join(",\n")
}

fn properties<'a>(properties: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'").replace('\t', "\\t");
    let properties = properties.into_iter().map(|(name, value)| format!("  '{}' = '{}'", quoted(name), quoted(value)));
    properties.collect::<Vec<_>>().join(",\n")
}
