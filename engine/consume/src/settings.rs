//! Settings from the variables of an environment: `PIXEL_ENGINE_RECORD_SIZE=100KiB`. Whoever
//! starts a function or a child can set variables, and mostly nothing else.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use pixel_engine_core::config::{ConfigError, Key, Settings};
use pixel_engine_serve::config::{VARIABLE, nearest};
use serde_json::{Map, Value};

/// They say how the program runs, and which command it is: no setting of what it does.
const OF_PROGRAM: [&str; 3] = ["LAMBDA", "LOG", "SIMD"];

/// What a command can be told by variables.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// What the command is called in errors.
    pub command: &'static str,
    /// The settings that mean something to it, in groups.
    pub keys: &'static [&'static [Key]],
    /// The names of its own, spelled as keys are: `partition_keys`.
    pub others: &'static [&'static str],
}

impl Accepted {
    /// The names of the settings.
    fn names(self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().copied().flatten().map(|key| key.name())
    }
}

/// Settings of what lines are and what becomes of each.
pub const OF_LINES: &[Key] = &[
    Key::Format,
    Key::Fields,
    Key::QueryEncoding,
    Key::Match,
    Key::MaskIp,
    Key::Hash,
    Key::HashWith,
    Key::HashKey,
    Key::HashKeyFile,
    Key::Drop,
    Key::Replace,
    Key::OnBadLine,
    Key::Encode,
    Key::Select,
];

/// What a command was told by variables.
#[derive(Clone, Debug, Default)]
pub struct FromVariables {
    /// The settings.
    pub settings: Settings,
    /// The text behind each of the command's own names that is set.
    pub others: BTreeMap<&'static str, String>,
}

/// Variables that cannot be used, each with what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct VariableErrors(Vec<String>);

/// One a line.
impl Display for VariableErrors {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.join("\n"))
    }
}

impl VariableErrors {
    /// A single one: what is wrong with the variable of that key.
    pub fn of(key: &str, message: impl Display) -> VariableErrors {
        VariableErrors(vec![format!("{}: {message}", variable(key))])
    }
}

/// Settings that are right one by one, but not together.
impl From<ConfigError> for VariableErrors {
    fn from(error: ConfigError) -> VariableErrors {
        VariableErrors(vec![error.spelled(|key, value| match value {
            Some(value) => format!("{}={value}", variable(key.name())),
            None => variable(key.name()),
        })])
    }
}

/// Reads those of the variables that begin with `PIXEL_ENGINE_`.
///
/// ```
/// use pixel_engine_consume::settings::{Accepted, read};
/// use pixel_engine_core::config::Key;
///
/// let accepted = Accepted { command: "transform", keys: &[&[Key::Select, Key::MaskIp]], others: &["partition_keys"] };
/// let variables = [("PIXEL_ENGINE_MASK_IP", "true"), ("PIXEL_ENGINE_PARTITION_KEYS", "date"), ("HOME", "/")];
/// let read_of = |variables: &[(&str, &str)]| read(accepted, variables.iter().map(|it| (it.0.into(), it.1.into())));
/// let told = read_of(&variables)?;
/// assert_eq!((told.settings.mask_ip, told.others["partition_keys"].as_str()), (Some(true), "date"));
///
/// let error = read_of(&[("PIXEL_ENGINE_SELCT", "c-ip")]).expect_err("there is no such setting");
/// assert_eq!(error.to_string(), "PIXEL_ENGINE_SELCT: no such setting; did you mean `PIXEL_ENGINE_SELECT`?");
/// # Ok::<(), pixel_engine_consume::settings::VariableErrors>(())
/// ```
///
/// # Errors
/// Names that do not exist, settings that the command has no use for, and values that cannot be
/// read: all of them.
pub fn read(
    accepted: Accepted,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<FromVariables, VariableErrors> {
    let (mut values, mut others, mut errors) = (Map::new(), BTreeMap::new(), Vec::new());
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix(VARIABLE).filter(|rest| !OF_PROGRAM.contains(rest)) else { continue };
        let is_it = |key: &str| variable(key) == name;
        if let Some(&other) = accepted.others.iter().find(|other| is_it(other)) {
            others.insert(other, value);
        } else if let Some(key) = accepted.names().find(|key| is_it(key)) {
            match settings_of(Map::from_iter([(key.to_owned(), Value::String(value.clone()))])) {
                Ok(_) => drop(values.insert(key.to_owned(), Value::String(value))),
                Err(error) => errors.push(format!("{name}: {error}")),
            }
        } else if Key::ALL.iter().any(|key| is_it(key.name())) {
            errors.push(format!("{name}: `{}` has no use for it", accepted.command));
        } else {
            let known = accepted.names().chain(accepted.others.iter().copied());
            let known: Vec<String> = known.chain(OF_PROGRAM).map(variable).collect();
            let nearest = nearest(rest, known.iter().map(|name| &name[VARIABLE.len()..]));
            let nearest = nearest.replacen('`', &format!("`{VARIABLE}"), 1);
            errors.push(format!("{name}: no such setting{nearest}"));
        }
    }
    if !errors.is_empty() {
        errors.sort();
        return Err(VariableErrors(errors));
    }
    Ok(FromVariables { settings: settings_of(values).expect("each of them could be read"), others })
}

/// The variable of a key.
fn variable(key: &str) -> String {
    format!("{VARIABLE}{}", key.to_uppercase())
}

fn settings_of(values: Map<String, Value>) -> Result<Settings, serde_json::Error> {
    serde_json::from_value(Value::Object(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPTED: Accepted = Accepted {
        command: "transform",
        keys: &[&[Key::Match, Key::Hash, Key::HashKey, Key::MaskIp]],
        others: &["partition_keys"],
    };

    fn told(variables: &[(&str, &str)]) -> Result<FromVariables, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        read(ACCEPTED, variables).map_err(|error| error.to_string())
    }

    #[test]
    fn other_variables_are_left_alone() {
        let all = told(&[("PATH", "/bin"), ("PIXEL_ENGINE_LOG", "info"), ("PIXEL_ENGINE_LAMBDA", "transform")]);
        assert_eq!(all.map(|all| (all.settings, all.others.len())), Ok((Settings::default(), 0)));
    }

    #[test]
    fn every_variable_that_is_wrong_is_named() {
        let error = told(&[
            ("PIXEL_ENGINE_MASK_IP", "perhaps"),
            ("PIXEL_ENGINE_MACH", "c-ip=*"),
            ("PIXEL_ENGINE_SPOOL", "/tmp"),
            ("PIXEL_ENGINE_XYZ", "1"),
            ("PIXEL_ENGINE_PARTITION_KEY", "date"),
        ]);
        let lines = [
            "PIXEL_ENGINE_MACH: no such setting; did you mean `PIXEL_ENGINE_MATCH`?",
            "PIXEL_ENGINE_MASK_IP: invalid value: string \"perhaps\", expected true or false",
            "PIXEL_ENGINE_PARTITION_KEY: no such setting; did you mean `PIXEL_ENGINE_PARTITION_KEYS`?",
            "PIXEL_ENGINE_SPOOL: `transform` has no use for it",
            "PIXEL_ENGINE_XYZ: no such setting",
        ];
        assert_eq!(error.expect_err("all are wrong"), lines.join("\n"));
    }

    #[test]
    fn errors_of_settings_together_name_the_variable() {
        let told = told(&[("PIXEL_ENGINE_HASH", "c-ip"), ("PIXEL_ENGINE_HASH_KEY", "brief")]);
        let told = told.expect("text is all that they must be");
        let error = VariableErrors::from(told.settings.validate().expect_err("a key that can be guessed"));
        let error = error.to_string();
        assert!(error.starts_with("PIXEL_ENGINE_HASH_KEY") && !error.contains("brief"), "{error}");
    }
}
