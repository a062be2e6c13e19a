//! The table `[admin]`: where to listen for those who look on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use super::read::{ADMIN, Reader, Setting, Table, VARIABLE, Variables, nearest};
use super::{From, Given};
use crate::admin::{AdminConfig, Token};

const LISTEN: &str = "listen";
const TOKEN: &str = "token";
const TOKEN_FILE: &str = "token_file";
const BAD_LINE_TEXT: &str = "bad_line_text";
const KEYS: [&str; 4] = [LISTEN, TOKEN, TOKEN_FILE, BAD_LINE_TEXT];

/// Where to listen, and who said so.
#[derive(Clone, Debug)]
pub struct AdminFileConfig {
    /// How to listen.
    pub config: AdminConfig,
    /// What was said, and where, in the order of the keys. The token is masked.
    pub given: Vec<(&'static str, Given)>,
}

type Settings = BTreeMap<&'static str, Setting>;

impl Reader<'_> {
    /// Reads the table and the variables `PIXEL_ENGINE_ADMIN_...`, which come before it.
    pub(super) fn admin(&mut self, document: &Table<'_>, variables: &Variables) -> Option<AdminFileConfig> {
        let mut settings = Settings::new();
        if let Some(table) = document.get(ADMIN) {
            let table = self.table(table, "admin is a table: [admin]")?;
            settings = self.admin_settings(table);
        }
        for key in KEYS {
            let variable = format!("{VARIABLE}ADMIN_{}", key.to_uppercase());
            if let Some(value) = variables.get(&variable) {
                // Of the two ways to give a token, that of the environment counts.
                if [TOKEN, TOKEN_FILE].contains(&key) {
                    settings.retain(|other, setting| {
                        ![TOKEN, TOKEN_FILE].contains(other) || matches!(setting.from, From::Variable(_))
                    });
                }
                let from = From::Variable(variable);
                settings.insert(key, Setting { value: Value::String(value.clone()), at: None, from });
            }
        }
        let Some(listen) = settings.get(LISTEN) else {
            if let Some(setting) = settings.values().next() {
                self.error_of(setting, "admin needs listen = \"127.0.0.1:9464\"");
            } else if let Some(table) = document.get(ADMIN) {
                self.error(Some(table.span()), "admin needs listen = \"127.0.0.1:9464\"");
            }
            return None;
        };
        let address = listen.value.as_str().and_then(|text| text.parse::<SocketAddr>().ok());
        let Some(address) = address else {
            self.error_of(listen, "listen: an IP address with a port, such as 127.0.0.1:9464 or [::1]:9464");
            return None;
        };
        let token = self.token(&settings)?;
        if token.is_none() && !address.ip().is_loopback() {
            let message = format!("listen: {address} can be reached from elsewhere: add token_file = \"FILE\"");
            self.error_of(listen, &message);
            return None;
        }
        let bad_line_text = self.switch(&settings)?;
        let given = settings.iter().map(|(&key, setting)| (key, setting.given(key == TOKEN))).collect();
        Some(AdminFileConfig { config: AdminConfig { listen: address, token, bad_line_text }, given })
    }

    fn admin_settings(&mut self, table: &Table<'_>) -> Settings {
        let mut settings = Settings::new();
        for (name, item) in table {
            let Some(key) = KEYS.into_iter().find(|key| *key == name.get_ref()) else {
                let nearest = nearest(name.get_ref(), KEYS.into_iter());
                self.error(Some(name.span()), &format!("unknown key `{}` of admin{nearest}", name.get_ref()));
                continue;
            };
            if let Some(setting) = self.setting(name, item) {
                settings.insert(key, setting);
            }
        }
        settings
    }

    /// The token, if one is given; `None` when something is wrong with it.
    fn token(&mut self, settings: &Settings) -> Option<Option<Token>> {
        let (setting, secret) = match (settings.get(TOKEN), settings.get(TOKEN_FILE)) {
            (None, None) => return Some(None),
            (Some(_), Some(file)) => {
                self.error_of(file, "token_file: the token is given already; remove one of the two");
                return None;
            }
            (Some(token), None) => (token, token.value.as_str().map(str::to_owned)),
            (None, Some(file)) => {
                match file.value.as_str().map(|path| (path, std::fs::read_to_string(Path::new(path)))) {
                    Some((path, Err(error))) => {
                        self.error_of(file, &format!("token_file: {path}: {error}"));
                        return None;
                    }
                    read => (file, read.and_then(|(_, text)| text.ok())),
                }
            }
        };
        let token = secret.and_then(|secret| Token::new(secret.trim()));
        if token.is_none() {
            let message =
                format!("the token has at least {} characters; `openssl rand -hex 16` makes one", Token::MIN_LEN);
            self.error_of(setting, &message);
        }
        token.map(Some)
    }

    fn switch(&mut self, settings: &Settings) -> Option<bool> {
        let Some(setting) = settings.get(BAD_LINE_TEXT) else { return Some(false) };
        let is_on = match &setting.value {
            Value::Bool(is_on) => Some(*is_on),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        if is_on.is_none() {
            self.error_of(setting, "bad_line_text: true or false");
        }
        is_on
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FileConfig, FileErrors};
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn read(admin: &str, variables: &[(&str, &str)]) -> Result<Option<AdminFileConfig>, FileErrors> {
        let text = format!("{admin}\n[pipeline.a]\nsource = {{ type = \"stdin\" }}\n");
        let variables = variables.iter().map(|(name, value)| (format!("PIXEL_ENGINE_ADMIN_{name}"), value.to_string()));
        FileConfig::parse("run.toml", &text, variables).map(|file| file.admin)
    }

    #[test]
    fn nothing_listens_unless_it_is_said() {
        assert!(read("", &[]).unwrap().is_none());
        let admin = read("[admin]\nlisten = \"127.0.0.1:9464\"", &[]).unwrap().unwrap();
        assert_eq!((admin.config.listen.port(), admin.config.bad_line_text), (9464, false));
        assert!(admin.config.token.is_none());
        let admin = read("", &[("LISTEN", "[::1]:1"), ("BAD_LINE_TEXT", "true")]).unwrap().unwrap();
        assert_eq!((admin.config.listen.port(), admin.config.bad_line_text), (1, true));
        assert_eq!(admin.given[1].1.from, From::Variable("PIXEL_ENGINE_ADMIN_LISTEN".to_owned()));
    }

    #[test]
    fn a_token_comes_from_a_file_or_the_environment_and_is_masked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, format!("{SECRET}\n")).unwrap();
        let text = format!("[admin]\nlisten = \"0.0.0.0:9464\"\ntoken_file = \"{}\"", path.display());
        let of_file = read(&text, &[]).unwrap().unwrap();
        assert!(of_file.config.token.as_ref().unwrap().is(SECRET.as_bytes()));
        let of_variable = read(&text, &[("TOKEN", "another secret of enough length")]).unwrap().unwrap();
        assert!(of_variable.config.token.as_ref().unwrap().is(b"another secret of enough length"));
        assert!(!format!("{of_variable:?}").contains("another secret"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (admin, expected) in [
            ("admin = 1", "run.toml:1:9: admin is a table: [admin]"),
            ("[admin]", "run.toml:1:1: admin needs listen = \"127.0.0.1:9464\""),
            ("[admin]\nlisten = \"localhost\"", "run.toml:2:10: listen: an IP address with a port"),
            ("[admin]\nlisten = \"[::]:1\"", "run.toml:2:10: listen: [::]:1 can be reached from elsewhere: add token"),
            ("[admin]\nlistn = \"127.0.0.1:1\"", "run.toml:2:1: unknown key `listn` of admin; did you mean `listen`?"),
            (
                "[admin]\nlisten = \"127.0.0.1:1\"\ntoken = \"short\"",
                "run.toml:3:9: the token has at least 16 characters",
            ),
            (
                "[admin]\nlisten = \"127.0.0.1:1\"\ntoken_file = \"/no/such\"",
                "run.toml:3:14: token_file: /no/such: No such",
            ),
            (
                "[admin]\nlisten = \"127.0.0.1:1\"\ntoken_file = \"/dev/null\"\ntoken = \"0123456789abcdef\"",
                "run.toml:3:14: token_file: the token is given already",
            ),
            ("[admin]\nlisten = \"127.0.0.1:1\"\nbad_line_text = 1", "run.toml:3:17: bad_line_text: true or false"),
        ] {
            let errors = read(admin, &[]).expect_err(admin).to_string();
            assert!(errors.contains(expected), "{admin}\n{errors}");
            assert!(!errors.contains(SECRET));
        }
    }
}
