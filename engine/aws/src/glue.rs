//! Glue's catalogue: a table is made, or brought to what it should be, and nothing that others have
//! put on it is lost.
//!
//! Sources: GetTable, CreateTable, UpdateTable, GetDatabase and CreateDatabase in the AWS Glue Web
//! API Reference.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display, Formatter};

use aws_sdk_glue::Client;
use aws_sdk_glue::config::Builder;
use aws_sdk_glue::types::{self as sdk, DatabaseInput};
use pixel_engine_core::config::Connection;
use pixel_engine_core::deliver::{DeliverError, Failure, Options, Tries};
use pixel_engine_core::sink::SinkError;
use pixel_engine_core::sink::limits::Api;
use serde::Deserialize;

use super::Error;
use super::connection::{Target, configuration};
use super::failure::of_request;

/// The `TableInput` of CreateTable, as far as it is ours.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TableInput {
    name: String,
    table_type: String,
    parameters: Parameters,
    partition_keys: Vec<Column>,
    storage_descriptor: StorageDescriptor,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StorageDescriptor {
    columns: Vec<Column>,
    location: String,
    input_format: String,
    output_format: String,
    serde_info: SerdeInfo,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SerdeInfo {
    serialization_library: String,
    parameters: Parameters,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Column {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Type")]
    column_type: String,
}

type Parameters = BTreeMap<String, String>;

/// Parameters that are ours: one that the table has and should not goes, any other stays.
const OURS: [&str; 4] = ["EXTERNAL", "classification", "projection.", "storage.location.template"];
const OURS_OF_SERDE: [&str; 3] = ["field.delim", "mapping.", "serialization.format"];
/// Reads columns by their places, where the other classes go by names.
const BY_PLACE: &str = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe";
/// How often a table that others change meanwhile is looked at again.
const MAX_ROUNDS: usize = 5;

/// What may be done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Permissions {
    /// The database may be created.
    pub create_database: bool,
    /// Columns may go and change, and the table may be of other files.
    pub replace: bool,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// The database was created.
    pub database_is_new: bool,
    /// The table was.
    pub table_is_new: bool,
    /// What was changed of a table that was there.
    pub changes: Vec<Change>,
}

/// A difference between a table and what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    what: String,
    from: Option<String>,
    to: Option<String>,
    /// Whether queries that worked may not, or see other files.
    breaks: bool,
}

impl Display for Change {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Change { what, from, to, .. } = self;
        match (from, to) {
            (None, Some(to)) => write!(out, "+ {what} {to}"),
            (Some(from), None) => write!(out, "- {what} {from}"),
            (from, to) => {
                write!(out, "~ {what} {} -> {}", from.as_deref().unwrap_or_default(), to.as_deref().unwrap_or_default())
            }
        }
    }
}

/// Why a table is left as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GlueError {
    /// There is no way to Glue.
    #[error(transparent)]
    Aws(#[from] Error),
    /// There is no such database.
    #[error("{database}: no such database: create it, or let it be created (create_database)")]
    NoDatabase {
        /// Its name.
        database: String,
    },
    /// Queries that worked would not, or would see other files.
    #[error(
        "{table}: left as it was: {} would break queries: give the table another name, or let it be replaced (replace)",
        listed(.changes)
    )]
    Breaks {
        /// The table, with its database.
        table: String,
        /// What would.
        changes: Vec<Change>,
    },
    /// There is something else of that name: a view, or a table of Iceberg.
    #[error("{table}: there is {what} of that name: give the table another one")]
    Other {
        /// The table, with its database.
        table: String,
        /// What is there.
        what: String,
    },
    /// Others changed it each time.
    #[error("{table}: others change it at the same time: run this again")]
    Busy {
        /// The table, with its database.
        table: String,
    },
}

fn listed(changes: &[Change]) -> String {
    changes.iter().map(Change::to_string).collect::<Vec<_>>().join(", ")
}

/// Brings a table of that database to what it should be. Blocks; not for callers inside tokio.
///
/// # Errors
/// There is no way to Glue, no such database, or it may not be done: see [`GlueError`].
pub fn apply(
    database: &str,
    table: &TableInput,
    permissions: Permissions,
    connection: &Connection,
) -> Result<Applied, GlueError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::from(SinkError::io("a thread for requests", error)))?;
    runtime.block_on(async {
        let name = format!("{database}.{}", table.name);
        let target = Target { name: format!("Glue table {name}"), region: None, takes_arn: false };
        let configuration = configuration(connection, target).await?;
        let mut config = Builder::from(&configuration);
        if let Some(url) = &connection.endpoint_url {
            config.set_endpoint_url(Some(url.clone()));
        }
        let client = Client::from_conf(config.build());
        let tries = Tries::new(Options::new(Api::PutRecordBatch));
        let catalogue = Catalogue { client, tries, database: database.to_owned(), name };
        catalogue.apply(table, permissions).await
    })
}

/// What a call came to, where it may be that others were faster.
enum Made {
    Done,
    OthersWere,
}

struct Catalogue {
    client: Client,
    tries: Tries,
    database: String,
    /// The table, with its database.
    name: String,
}

impl Catalogue {
    async fn apply(&self, table: &TableInput, permissions: Permissions) -> Result<Applied, GlueError> {
        let mut applied = Applied::default();
        // A request whose reply was lost looks as if others had been faster.
        for _ in 0..MAX_ROUNDS {
            let made = match self.found(&table.name).await? {
                None => {
                    applied.database_is_new |= self.have_database(permissions).await?;
                    applied.table_is_new = true;
                    self.create(table).await?
                }
                Some(found) => {
                    let changes = self.changes(&found, table)?;
                    if changes.is_empty() {
                        return Ok(applied);
                    }
                    let breaks: Vec<Change> = changes.iter().filter(|change| change.breaks).cloned().collect();
                    if !breaks.is_empty() && !permissions.replace {
                        return Err(GlueError::Breaks { table: self.name.clone(), changes: breaks });
                    }
                    applied.changes = changes;
                    self.update(&found, table).await?
                }
            };
            if let Made::Done = made {
                return Ok(applied);
            }
        }
        Err(GlueError::Busy { table: self.name.clone() })
    }

    async fn found(&self, name: &str) -> Result<Option<sdk::Table>, GlueError> {
        let call = || async {
            let reply = self.client.get_table().database_name(&self.database).name(name).send().await;
            match reply.map_err(|error| of_request(&error).during("glue:GetTable")) {
                Ok(reply) => Ok(reply.table),
                Err(failure) if failure.code() == "EntityNotFoundException" => Ok(None),
                Err(failure) => Err(failure),
            }
        };
        self.tries.ask(call).await.map_err(|error| self.failed(error))
    }

    /// Sees that the database is there; whether it was created.
    async fn have_database(&self, permissions: Permissions) -> Result<bool, GlueError> {
        let call = || async {
            let reply = self.client.get_database().name(&self.database).send().await;
            match reply.map_err(|error| of_request(&error).during("glue:GetDatabase")) {
                Ok(_) => Ok(true),
                Err(failure) if failure.code() == "EntityNotFoundException" => Ok(false),
                Err(failure) => Err(failure),
            }
        };
        if self.tries.ask(call).await.map_err(|error| self.failed(error))? {
            return Ok(false);
        }
        if !permissions.create_database {
            return Err(GlueError::NoDatabase { database: self.database.clone() });
        }
        let input = DatabaseInput::builder().name(&self.database).build().expect("it has a name");
        let call = || async {
            let reply = self.client.create_database().database_input(input.clone()).send().await;
            self.made(reply.map(drop).map_err(|error| of_request(&error).during("glue:CreateDatabase")))
        };
        let made = self.tries.ask(call).await.map_err(|error| self.failed(error))?;
        Ok(matches!(made, Made::Done))
    }

    async fn create(&self, table: &TableInput) -> Result<Made, GlueError> {
        let input = merged(None, table);
        let call = || async {
            let request = self.client.create_table().database_name(&self.database).table_input(input.clone());
            self.made(request.send().await.map(drop).map_err(|error| of_request(&error).during("glue:CreateTable")))
        };
        self.tries.ask(call).await.map_err(|error| self.failed(error))
    }

    /// Updates the table, if it is still that version of it.
    async fn update(&self, found: &sdk::Table, table: &TableInput) -> Result<Made, GlueError> {
        let input = merged(Some(found), table);
        let call = || async {
            let request = self.client.update_table().database_name(&self.database).table_input(input.clone());
            // Versions cost, and are limited; what was changed is printed.
            let request = request.skip_archive(true).set_version_id(found.version_id.clone());
            self.made(request.send().await.map(drop).map_err(|error| of_request(&error).during("glue:UpdateTable")))
        };
        self.tries.ask(call).await.map_err(|error| self.failed(error))
    }

    fn made(&self, reply: Result<(), Failure>) -> Result<Made, Failure> {
        match reply {
            Ok(()) => Ok(Made::Done),
            Err(failure) if matches!(failure.code(), "AlreadyExistsException" | "ConcurrentModificationException") => {
                Ok(Made::OthersWere)
            }
            Err(failure) => Err(failure),
        }
    }

    fn failed(&self, error: DeliverError) -> GlueError {
        Error::from(SinkError::stream(format!("Glue table {}", self.name), error)).into()
    }

    fn changes(&self, found: &sdk::Table, table: &TableInput) -> Result<Vec<Change>, GlueError> {
        let other = |what: &str| GlueError::Other { table: self.name.clone(), what: what.to_owned() };
        let parameters = found.parameters.as_ref();
        if parameters.and_then(|it| it.get("table_type")).is_some_and(|kind| kind.eq_ignore_ascii_case("ICEBERG")) {
            return Err(other("a table of Iceberg"));
        }
        if found.table_type.as_deref() == Some("VIRTUAL_VIEW") {
            return Err(other("a view"));
        }
        Ok(changes(found, table))
    }
}

/// What of a table is not as it should be.
fn changes(found: &sdk::Table, table: &TableInput) -> Vec<Change> {
    let mut changes = Vec::new();
    let nothing = sdk::StorageDescriptor::builder().build();
    let descriptor = found.storage_descriptor.as_ref().unwrap_or(&nothing);
    let wanted = &table.storage_descriptor;
    let by_place = wanted.serde_info.serialization_library == BY_PLACE;
    compare_columns(&mut changes, "column", descriptor.columns(), &wanted.columns, by_place);
    compare_columns(&mut changes, "partition key", found.partition_keys(), &table.partition_keys, true);
    let serde = descriptor.serde_info.as_ref();
    let library = serde.and_then(|serde| serde.serialization_library());
    for (what, found, wanted) in [
        ("table type", found.table_type(), &table.table_type),
        ("location", descriptor.location(), &wanted.location),
        ("input format", descriptor.input_format(), &wanted.input_format),
        ("output format", descriptor.output_format(), &wanted.output_format),
        ("serialization library", library, &wanted.serde_info.serialization_library),
    ] {
        if found != Some(wanted) {
            let from = found.map(str::to_owned);
            changes.push(Change { what: what.to_owned(), breaks: from.is_some(), from, to: Some(wanted.clone()) });
        }
    }
    compare_parameters(&mut changes, "parameter", found.parameters.as_ref(), &table.parameters, &OURS);
    let of_serde = serde.and_then(|serde| serde.parameters.as_ref());
    compare_parameters(&mut changes, "SerDe parameter", of_serde, &wanted.serde_info.parameters, &OURS_OF_SERDE);
    changes
}

fn compare_columns(changes: &mut Vec<Change>, what: &str, found: &[sdk::Column], wanted: &[Column], by_place: bool) {
    let change = |name: &str, from: Option<&str>, to: Option<&str>, breaks| Change {
        what: format!("{what} {name}"),
        from: from.map(str::to_owned),
        to: to.map(str::to_owned),
        breaks,
    };
    for column in found {
        match wanted.iter().find(|wanted| wanted.name == column.name) {
            None => changes.push(change(&column.name, Some(column.r#type().unwrap_or_default()), None, true)),
            Some(wanted) if column.r#type() != Some(&wanted.column_type) => {
                changes.push(change(&column.name, column.r#type(), Some(&wanted.column_type), true));
            }
            Some(_) => {}
        }
    }
    let is_new = |column: &&Column| !found.iter().any(|found| found.name == column.name);
    let is_at_end = |column: &&Column| wanted.iter().position(|it| it.name == column.name) >= Some(found.len());
    for column in wanted.iter().filter(is_new) {
        // Before others, or as another folder, it takes the values of what stood there.
        let breaks = by_place && !found.is_empty() && !is_at_end(&column);
        changes.push(change(&column.name, None, Some(&column.column_type), breaks));
    }
    let order_found: Vec<&str> = found.iter().map(|column| column.name.as_str()).collect();
    let order_wanted: Vec<&str> = wanted.iter().map(|column| column.name.as_str()).collect();
    let in_both = |of: &[&str], other: &[&str]| {
        of.iter().filter(|name| other.contains(name)).copied().collect::<Vec<_>>().join(",")
    };
    let (before, after) = (in_both(&order_found, &order_wanted), in_both(&order_wanted, &order_found));
    if before != after {
        changes.push(change("order", Some(&before), Some(&after), by_place));
    }
}

fn is_ours(name: &str, ours: &[&str]) -> bool {
    ours.iter().any(|ours| name == *ours || ours.ends_with('.') && name.starts_with(ours))
}

fn compare_parameters(
    changes: &mut Vec<Change>,
    what: &str,
    found: Option<&HashMap<String, String>>,
    wanted: &Parameters,
    ours: &[&str],
) {
    let found: BTreeMap<&String, &String> = found.into_iter().flatten().collect();
    let gone = found.iter().filter(|(name, _)| is_ours(name, ours) && !wanted.contains_key(**name));
    for (name, value) in gone {
        let from = Some((*value).clone());
        changes.push(Change { what: format!("{what} {name}"), from, to: None, breaks: false });
    }
    for (name, value) in wanted {
        let from = found.get(name).map(|found| (*found).clone());
        if from.as_ref() != Some(value) {
            changes.push(Change { what: format!("{what} {name}"), from, to: Some(value.clone()), breaks: false });
        }
    }
}

/// The table as it should be, with what others have put on the one that was found.
fn merged(found: Option<&sdk::Table>, table: &TableInput) -> sdk::TableInput {
    let wanted = &table.storage_descriptor;
    let mut descriptor = found
        .and_then(|found| found.storage_descriptor.clone())
        .unwrap_or_else(|| sdk::StorageDescriptor::builder().build());
    let mut serde = descriptor.serde_info.take().unwrap_or_else(|| sdk::SerDeInfo::builder().build());
    serde.serialization_library = Some(wanted.serde_info.serialization_library.clone());
    serde.parameters = Some(with_others(serde.parameters.as_ref(), &wanted.serde_info.parameters, &OURS_OF_SERDE));
    descriptor.columns = Some(columns(descriptor.columns(), &wanted.columns));
    descriptor.location = Some(wanted.location.clone());
    descriptor.input_format = Some(wanted.input_format.clone());
    descriptor.output_format = Some(wanted.output_format.clone());
    descriptor.serde_info = Some(serde);
    let parameters = with_others(found.and_then(|found| found.parameters.as_ref()), &table.parameters, &OURS);
    let keys = columns(found.map(sdk::Table::partition_keys).unwrap_or_default(), &table.partition_keys);
    let input = sdk::TableInput::builder()
        .name(&table.name)
        .table_type(&table.table_type)
        .set_parameters(Some(parameters))
        .set_partition_keys(Some(keys))
        .storage_descriptor(descriptor)
        .set_description(found.and_then(|found| found.description.clone()))
        .set_owner(found.and_then(|found| found.owner.clone()))
        .set_retention(found.map(|found| found.retention))
        .set_last_access_time(found.and_then(|found| found.last_access_time))
        .set_last_analyzed_time(found.and_then(|found| found.last_analyzed_time));
    input.build().expect("it has a name")
}

/// Ours, and those of others that were found.
fn with_others(found: Option<&HashMap<String, String>>, wanted: &Parameters, ours: &[&str]) -> HashMap<String, String> {
    let others = found.into_iter().flatten().filter(|(name, _)| !is_ours(name, ours));
    others.chain(wanted).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The columns, each with the comment and the parameters that it had.
fn columns(found: &[sdk::Column], wanted: &[Column]) -> Vec<sdk::Column> {
    let column = |wanted: &Column| {
        let found = found.iter().find(|found| found.name == wanted.name);
        let column = sdk::Column::builder().name(&wanted.name).r#type(&wanted.column_type);
        let column = column.set_comment(found.and_then(|found| found.comment.clone()));
        column.set_parameters(found.and_then(|found| found.parameters.clone())).build().expect("it has a name")
    };
    wanted.iter().map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[(&str, &str)], parameters: &[(&str, &str)], library: &str) -> TableInput {
        let column = |(name, column_type): &(&str, &str)| Column {
            name: (*name).to_owned(),
            column_type: (*column_type).to_owned(),
        };
        TableInput {
            name: "lines".to_owned(),
            table_type: "EXTERNAL_TABLE".to_owned(),
            parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            partition_keys: vec![column(&("dt", "string"))],
            storage_descriptor: StorageDescriptor {
                columns: columns.iter().map(column).collect(),
                location: "s3://bucket/".to_owned(),
                input_format: "in".to_owned(),
                output_format: "out".to_owned(),
                serde_info: SerdeInfo { serialization_library: library.to_owned(), parameters: Parameters::new() },
            },
        }
    }

    /// As Glue answers it, once it was stored.
    fn stored(input: &sdk::TableInput) -> sdk::Table {
        sdk::Table::builder()
            .name(&input.name)
            .set_table_type(input.table_type.clone())
            .set_parameters(input.parameters.clone())
            .set_partition_keys(input.partition_keys.clone())
            .set_storage_descriptor(input.storage_descriptor.clone())
            .set_description(input.description.clone())
            .build()
            .unwrap()
    }

    fn texts(changes: &[Change]) -> Vec<String> {
        let breaks = |change: &Change| if change.breaks { "!" } else { "" };
        changes.iter().map(|change| format!("{}{change}", breaks(change))).collect()
    }

    #[test]
    fn a_table_as_it_should_be_needs_nothing() {
        let wanted = table(&[("a", "string")], &[("projection.dt.type", "date")], "parquet");
        let mut found = stored(&merged(None, &wanted));
        assert_eq!(changes(&found, &wanted), []);
        // What others add is no change, and stays.
        found.description = Some("ours".to_owned());
        found.parameters.get_or_insert_default().insert("owner".to_owned(), "data".to_owned());
        found.storage_descriptor.as_mut().unwrap().columns.as_mut().unwrap()[0].comment = Some("first".to_owned());
        assert_eq!(changes(&found, &wanted), []);
        let wider = table(&[("a", "string"), ("b", "bigint")], &[], "parquet");
        let after = stored(&merged(Some(&found), &wider));
        assert_eq!(texts(&changes(&found, &wider)), ["+ column b bigint", "- parameter projection.dt.type date"]);
        assert_eq!(changes(&after, &wider), []);
        assert_eq!(after.parameters.as_ref().unwrap()["owner"], "data");
        assert_eq!(
            (after.description(), after.storage_descriptor().unwrap().columns()[0].comment()),
            (Some("ours"), Some("first"))
        );
    }

    #[test]
    fn what_breaks_queries_is_known() {
        let before = [("a", "string"), ("b", "bigint")];
        let of = |library: &str, columns: &[(&str, &str)]| {
            let found = stored(&merged(None, &table(&before, &[], library)));
            texts(&changes(&found, &table(columns, &[], library)))
        };
        for library in ["parquet", BY_PLACE] {
            assert_eq!(of(library, &[("a", "string")]), ["!- column b bigint"]);
            assert_eq!(of(library, &[("a", "string"), ("b", "double")]), ["!~ column b bigint -> double"]);
            assert_eq!(of(library, &[("a", "string"), ("b", "bigint"), ("c", "int")]), ["+ column c int"]);
        }
        // By their places, other columns would have the values of these.
        assert_eq!(of("parquet", &[("c", "int"), ("a", "string"), ("b", "bigint")]), ["+ column c int"]);
        assert_eq!(of(BY_PLACE, &[("c", "int"), ("a", "string"), ("b", "bigint")]), ["!+ column c int"]);
        assert_eq!(of("parquet", &[("b", "bigint"), ("a", "string")]), ["~ column order a,b -> b,a"]);
        assert_eq!(of(BY_PLACE, &[("b", "bigint"), ("a", "string")]), ["!~ column order a,b -> b,a"]);
        let found = stored(&merged(None, &table(&before, &[], "parquet")));
        let mut elsewhere = table(&before, &[], "parquet");
        elsewhere.storage_descriptor.location = "s3://other/".to_owned();
        assert_eq!(texts(&changes(&found, &elsewhere)), ["!~ location s3://bucket/ -> s3://other/"]);
    }
}
