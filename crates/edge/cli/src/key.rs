//! `rekindle key`: the keys that may sign requests to a server.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use edge_keys::{AccessKey, KeyFile, KeysError};
use serde::Serialize;

use crate::failure::{ExitCode, Failure};
use crate::output::{Format, Table};

/// Arguments of `rekindle key`.
#[derive(Args, Clone, Debug)]
pub struct KeyArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// What can be done with keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key and print it. A server that was started with this file takes it at once.
    Create(CreateArgs),
    /// List the keys, without their secrets.
    Ls(FileArgs),
    /// Take a key out of the file: a server that was started with it refuses it at once.
    Revoke(RevokeArgs),
}

/// Which keys, and how to print.
#[derive(Args, Clone, Debug)]
pub struct FileArgs {
    /// File with the keys, in the form of ~/.aws/credentials; made when missing, readable by nobody else.
    #[arg(long, value_name = "FILE", env = "REKINDLE_KEYS")]
    pub keys: PathBuf,
    /// How to print.
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `rekindle key create`.
#[derive(Args, Clone, Debug)]
pub struct CreateArgs {
    /// Whose it is: the section of the file.
    #[arg(default_value = "default")]
    pub name: String,
    /// Account of its owner, twelve digits; the server's own without it. Servers of other accounts refuse it.
    #[arg(long)]
    pub account: Option<String>,
    /// The file.
    #[command(flatten)]
    pub file: FileArgs,
}

/// Arguments of `rekindle key revoke`.
#[derive(Args, Clone, Debug)]
pub struct RevokeArgs {
    /// Its id or its name.
    pub key: String,
    /// The file.
    #[command(flatten)]
    pub file: FileArgs,
}

/// A key as programs read it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown<'a> {
    name: &'a str,
    access_key_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_access_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    #[serde(skip)]
    text: String,
}

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Keys as programs and people read them.
#[derive(Serialize)]
#[serde(transparent)]
struct List<'a> {
    keys: Vec<Shown<'a>>,
}

impl std::fmt::Display for List<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.keys.is_empty() {
            return f.write_str("no keys yet\nnext: rekindle key create");
        }
        let mut table = Table::new(&["name", "id", "account"]);
        for key in &self.keys {
            table.row([key.name, key.access_key_id, key.account.unwrap_or("-")]);
        }
        write!(f, "{table}")
    }
}

fn shown(key: &AccessKey, text: String) -> Shown<'_> {
    Shown {
        name: &key.name,
        access_key_id: &key.id,
        secret_access_key: None,
        account: key.account.as_deref(),
        text,
    }
}

fn failed(error: &KeysError) -> Failure {
    let failure = Failure::from_error(ExitCode::Failed, error);
    match error {
        KeysError::Exists { .. } => failure.next("choose another name, or revoke that one first"),
        KeysError::NoSuchKey { .. } => failure.next("`rekindle key ls` shows those there are"),
        _ => failure,
    }
}

/// Makes, lists or revokes keys.
///
/// # Errors
/// What the file or the arguments have against it.
pub fn key(args: &KeyArgs) -> Result<(), Failure> {
    let open = |file: &FileArgs| KeyFile::open(&file.keys).map_err(|error| failed(&error));
    let printed = match &args.command {
        KeyCommand::Create(args) => {
            let created = open(&args.file)?.create(&args.name, args.account.as_deref());
            let key = created.map_err(|error| failed(&error))?;
            let text = format!(
                "a key for {} is in {}\nnext: export AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={}",
                key.name,
                args.file.keys.display(),
                key.id,
                key.secret
            );
            let mut shown = shown(&key, text);
            shown.secret_access_key = Some(&key.secret);
            args.file.format.print(&shown)
        }
        KeyCommand::Ls(file) => {
            let open = open(file)?;
            let keys = open.keys().map(|key| shown(key, String::new())).collect();
            file.format.print(&List { keys })
        }
        KeyCommand::Revoke(args) => {
            let revoked = open(&args.file)?.revoke(&args.key);
            let key = revoked.map_err(|error| failed(&error))?;
            let text = format!("{} ({}) signs nothing any more", key.id, key.name);
            args.file.format.print(&shown(&key, text))
        }
    };
    printed.map_err(|error| Failure::from_error(ExitCode::Failed, &error))
}
