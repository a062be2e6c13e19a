//! `pixel-engine schema`.

use clap::{ArgGroup, Args};
use jiff::civil::Date;
use pixel_engine::config::{Config, Container, EncodingKind, Settings};
use pixel_engine::lake::schema::{Definition, Layout, Place, PlaceError, athena, check_name, duckdb, glue};
use pixel_engine::log::encode::Encoding;
use pixel_engine::source::Format;

use crate::settings::{Columns, choice, config};
use crate::{Outcome, output, usage_error};

/// Print what SQL must be told of delivered files: columns, types, folders
///
/// The flags that decide the columns are those of `ingest`: give them as you gave them there.
/// Folders of days and hours follow from the query (partition projection), so that no crawler runs
/// and no partition is registered.
#[derive(Args)]
#[command(group = ArgGroup::new("dialect").required(true).args(["glue", "athena", "duckdb"]), after_help = "Examples:
  pixel-engine schema --athena --encode parquet --location s3://bucket/lake/ --since 2026-01-01
  pixel-engine schema --glue --encode jsonl --location s3://bucket/json/ --since 2026-01-01 > table.json
  aws glue create-table --database-name pixel --table-input file://table.json
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

    /// Where the files are: s3://BUCKET/PREFIX/, or a folder for DuckDB
    #[arg(long, value_name = "LOCATION")]
    location: String,

    /// The first day that Athena sees; it goes on to the present. Needed with --glue and --athena
    #[arg(long, value_name = "DATE", required_unless_present = "duckdb")]
    since: Option<Date>,

    /// The database of --athena's table [default: the one that is used]
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
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Folders {
    Hive,
    Date,
}

impl Schema {
    pub(crate) fn run(self) -> Outcome {
        let text = self.text().unwrap_or_else(|message| usage_error("schema", &message));
        output::print(text.as_bytes())
    }

    fn text(&self) -> Result<String, String> {
        let definition = self.definition()?;
        // DuckDB sees every day.
        let since = self.since.unwrap_or(Date::MIN);
        let refused = |error: PlaceError| error.to_string();
        let place = Place::new(&self.table, &self.location, since).map_err(refused)?;
        if self.duckdb {
            return Ok(duckdb(&definition, &place));
        }
        if let Some(database) = &self.database {
            check_name(database).map_err(refused)?;
        }
        let table = glue(&definition, &place).map_err(refused)?;
        if !definition.folders().is_empty() {
            let names = definition.folders().join(", ");
            eprintln!("note: every query in Athena must say which {names} it wants: WHERE NAME = 'VALUE'");
        }
        if self.athena {
            return Ok(athena(&table, self.database.as_deref()));
        }
        let json = serde_json::to_string_pretty(&table).expect("names and texts are JSON");
        Ok(json + "\n")
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
