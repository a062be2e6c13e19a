//! `pixel-engine schema`.

use clap::{ArgGroup, Args};
use jiff::civil::Date;
use pixel_engine::aws::glue::{self as aws, GlueError, Permissions};
use pixel_engine::config::{Config, Container, EncodingKind, Settings};
use pixel_engine::lake::schema::{Definition, Layout, Place, PlaceError, TableInput, athena, check_name, duckdb, glue};
use pixel_engine::log::encode::Encoding;
use pixel_engine::source::Format;

use crate::aws::{Reach, of_aws};
use crate::settings::{Columns, choice, config};
use crate::{Outcome, output, usage_error};

/// Tell SQL of delivered files: columns, types, folders; as text, or right in Glue
///
/// The flags that decide the columns are those of `ingest`: give them as you gave them there.
/// Folders of days and hours follow from the query (partition projection), so that no crawler runs
/// and no partition is registered.
#[derive(Args)]
#[command(group = ArgGroup::new("dialect").required(true).args(["glue", "athena", "duckdb", "apply"]), after_help = "Examples:
  pixel-engine schema --athena --encode parquet --location s3://bucket/lake/ --since 2026-01-01
  pixel-engine schema --glue --encode jsonl --location s3://bucket/json/ --since 2026-01-01 > table.json
  pixel-engine schema --apply --database pixel --encode parquet --location s3://bucket/lake/ --since 2026-01-01
  pixel-engine schema --duckdb --encode parquet --location pixel-engine-out > lines.sql")]
pub(crate) struct Schema {
    /// The TableInput of Glue's CreateTable and of CloudFormation's AWS::Glue::Table, as JSON
    #[arg(long)]
    glue: bool,

    /// CREATE EXTERNAL TABLE of Athena
    #[arg(long)]
    athena: bool,

    /// CREATE VIEW of DuckDB
    #[arg(long)]
    duckdb: bool,

    /// Create the table in Glue, or bring the one that is there to what it should be
    #[arg(long, requires = "database")]
    apply: bool,

    /// With --apply, create the database if there is none of that name
    #[arg(long, requires = "apply")]
    create_database: bool,

    /// With --apply, also change what breaks queries: columns that go, or are of another type, and
    /// where the files are
    #[arg(long, requires = "apply")]
    replace: bool,

    /// Where the files are: s3://BUCKET/PREFIX/, or a folder for DuckDB
    #[arg(long, value_name = "LOCATION")]
    location: String,

    /// The first day that Athena sees; it goes on to the present. Needed but for --duckdb
    #[arg(long, value_name = "DATE", required_unless_present = "duckdb")]
    since: Option<Date>,

    /// The database of the table: needed with --apply [default of --athena: the one that is used]
    #[arg(long, value_name = "NAME")]
    database: Option<String>,

    /// The name of the table or the view
    #[arg(long, value_name = "NAME", default_value = "lines")]
    table: String,

    /// The folders of text: `hive` for dt=2026-01-05/hour=07/, as the CloudFormation template makes
    /// them, `date` for 2026/01/05/07/, as `dir:` and Firehose do by themselves. Parquet has `hive`
    /// [default: date]
    #[arg(long, value_name = "LAYOUT")]
    layout: Option<Folders>,

    #[command(flatten)]
    columns: Columns,

    /// What a line became [default: raw]
    #[arg(long, value_name = "ENCODING", value_parser = choice::<EncodingKind>())]
    encode: Option<EncodingKind>,

    /// With `--encode parquet`, the values that folders inside of the hours are named after
    #[arg(long, value_name = "FIELD|query.NAME")]
    partition_by: Option<String>,

    #[command(flatten)]
    reach: Reach,
}

/// What is told of the files, and to whom.
enum Told<'a> {
    Text(String),
    /// A table of that database.
    Glue(&'a str, TableInput),
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Folders {
    Hive,
    Date,
}

impl Schema {
    pub(crate) fn run(self) -> Outcome {
        let text = match self.told() {
            Ok(Told::Text(text)) => text,
            Ok(Told::Glue(database, table)) => return self.apply(database, &table),
            Err(message) => usage_error("schema", &message),
        };
        output::print(text.as_bytes())
    }

    fn told(&self) -> Result<Told<'_>, String> {
        let definition = self.definition()?;
        // DuckDB sees every day.
        let since = self.since.unwrap_or(Date::MIN);
        let refused = |error: PlaceError| error.to_string();
        let place = Place::new(&self.table, &self.location, since).map_err(refused)?;
        if self.duckdb {
            return Ok(Told::Text(duckdb(&definition, &place)));
        }
        if let Some(database) = &self.database {
            check_name(database).map_err(refused)?;
        }
        let table = glue(&definition, &place).map_err(refused)?;
        if !definition.folders().is_empty() {
            let names = definition.folders().join(", ");
            eprintln!("note: every query in Athena must say which {names} it wants: WHERE NAME = 'VALUE'");
        }
        match &self.database {
            Some(database) if self.apply => Ok(Told::Glue(database, table)),
            database if self.athena => Ok(Told::Text(athena(&table, database.as_deref()))),
            _ => {
                let json = serde_json::to_string_pretty(&table).expect("names and texts are JSON");
                Ok(Told::Text(json + "\n"))
            }
        }
    }

    /// Has Glue hold the table, and says what was changed.
    fn apply(&self, database: &str, table: &TableInput) -> Outcome {
        let json = serde_json::to_value(table).expect("names and texts are JSON");
        let table = serde_json::from_value(json).expect("it is the form of Glue's API");
        let config = config("schema", &self.reach.settings(Settings::default()));
        let permissions = Permissions { create_database: self.create_database, replace: self.replace };
        let name = format!("{database}.{}", self.table);
        let applied = match aws::apply(database, &table, permissions, config.connection()) {
            Ok(applied) => applied,
            Err(error) => {
                let flags = match &error {
                    GlueError::NoDatabase { .. } => " (--create-database)".to_owned(),
                    GlueError::Breaks { .. } => " (--table, --replace)".to_owned(),
                    _ => String::new(),
                };
                let message = if let GlueError::Aws(error) = &error { of_aws(error) } else { error.to_string() };
                eprintln!("pixel-engine: {message}{flags}");
                return Outcome::Failed;
            }
        };
        let mut text = String::new();
        if applied.database_is_new {
            text += &format!("{database}: created\n");
        }
        text += &match (applied.table_is_new, &applied.changes[..]) {
            (true, _) => format!("{name}: created\n"),
            (false, []) => format!("{name}: nothing to do\n"),
            (false, changes) => {
                let each = changes.iter().map(|change| format!("  {change}\n"));
                format!("{name}: updated\n{}", each.collect::<String>())
            }
        };
        output::print(text.as_bytes())
    }

    fn definition(&self) -> Result<Definition, String> {
        let is_headed = matches!(self.columns.format, Some(Format::Standard | Format::Json));
        let is_parquet = self.encode == Some(EncodingKind::Parquet);
        let mut fields = self.columns.fields.clone();
        if fields.is_empty() && !is_parquet && self.columns.select.is_none() {
            if is_headed {
                return Err("these logs name their fields themselves: give them as --fields".to_owned());
            }
            fields.push("realtime-46".to_owned());
        }
        let settings = Settings { encode: self.encode, partition_by: self.partition_by.clone(), ..Settings::default() };
        let config = config("schema", &Settings { fields, ..self.columns.settings(settings) });
        let layout = match (self.layout, is_parquet) {
            (Some(Folders::Date), true) => return Err("--layout date: Parquet files are in folders of hive".to_owned()),
            (Some(Folders::Hive), _) => Layout::Hive,
            (Some(Folders::Date) | None, _) => Layout::Date,
        };
        if let Container::Parquet { table, .. } = config.container() {
            return Ok(Definition::parquet(table));
        }
        match config.encoding() {
            Encoding::Projection(selection) => Ok(Definition::tsv_of_selection(selection, layout)),
            Encoding::Json(selection) => Ok(Definition::json_lines(schemas(&config), selection.as_ref(), layout)),
            _ if self.columns.format == Some(Format::Json) => {
                Err("JSON as it came has names of its own: deliver it with --encode jsonl".to_owned())
            }
            _ => {
                let mut schemas = schemas(&config);
                match (schemas.next(), schemas.next()) {
                    (Some(schema), None) => Ok(Definition::tsv_of_log(schema, layout)),
                    _ => Err("lines as they came must have one list of fields: give one --fields".to_owned()),
                }
            }
        }
    }
}

/// Those of real-time logs, or that of standard logs.
fn schemas(config: &Config) -> impl Iterator<Item = &pixel_engine::log::schema::Schema> {
    let standard = config.standard_schema().map(|schema| &**schema);
    config.schemas().iter().map(|schema| &**schema).chain(standard)
}
