//! The functions that are measured, and how they come onto a server.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edge_cli::functions::{Common, DeployArgs, upload};
use edge_cli::server::Server;
use edge_cli::{Client, EnvVar, Failure, Format, Span};
use serde::Serialize;

use crate::failed;

const FUNCTIONS: &str = "/2015-03-31/functions";

/// What runs the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Language {
    Python,
    Node,
}

impl Language {
    pub(crate) const ALL: [Language; 2] = [Language::Python, Language::Node];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Language::Python => "python",
            Language::Node => "node",
        }
    }

    fn runtime(self) -> &'static str {
        match self {
            Language::Python => "python3.11",
            Language::Node => "nodejs20.x",
        }
    }

    /// Names of interpreters, best first; as the node looks for them.
    pub(crate) fn programs(self) -> &'static [&'static str] {
        match self {
            Language::Python => &["python3.11", "python3"],
            Language::Node => &["node", "nodejs"],
        }
    }
}

/// Whether a function's instances come from a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Snapshots {
    /// From a snapshot; instances serve many events.
    On,
    /// From a snapshot, a new one for every event.
    Fresh,
    /// From the beginning.
    Off,
}

/// Code with its needs.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) language: Language,
    /// Text of the module that has the handler.
    pub(crate) text: &'static str,
    /// A directory whose files go beside it.
    pub(crate) packages: Option<PathBuf>,
    pub(crate) memory_mb: u32,
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl Function {
    pub(crate) fn new(language: Language, text: &'static str) -> Function {
        Function {
            language,
            text,
            packages: None,
            memory_mb: 256,
            environment: Vec::new(),
        }
    }

    /// Writes the code as a directory.
    pub(crate) fn lay_out(&self, directory: &Path) -> io::Result<()> {
        if let Some(packages) = &self.packages {
            copy(packages, directory)?;
        }
        let file = match self.language {
            Language::Python => "app.py",
            Language::Node => "app.js",
        };
        fs::write(directory.join(file), self.text)
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = fs::metadata(entry.path())?;
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// A function on a server.
#[derive(Clone, Debug)]
pub(crate) struct Deployed {
    /// Path of its invocations.
    pub(crate) path: String,
    /// What the server says of its snapshot when it could make none.
    pub(crate) reason: Option<String>,
}

/// Creates a function and waits until it can be called, and its snapshot, if it is to have one, is made or given up.
pub(crate) async fn deploy(
    server: &Server,
    name: &str,
    function: &Function,
    snapshots: Snapshots,
) -> Result<Deployed, Failure> {
    // A client of its own: between two functions the server may have closed what another kept.
    let client = &server.client().await?;
    let directory = tempfile::tempdir().map_err(|error| failed(&error))?;
    function
        .lay_out(directory.path())
        .map_err(|error| failed(&error))?;
    let arguments = arguments(client, name, function, snapshots, directory.path());
    let active = upload(client, &arguments).await?;
    Ok(Deployed {
        path: format!("{FUNCTIONS}/{name}/invocations"),
        reason: active["StateReason"].as_str().map(str::to_owned),
    })
}

fn arguments(
    client: &Client,
    name: &str,
    function: &Function,
    snapshots: Snapshots,
    code: &Path,
) -> DeployArgs {
    let mut env: Vec<EnvVar> = function
        .environment
        .iter()
        .map(|(name, value)| EnvVar((*name).into(), value.clone()))
        .collect();
    let wish = match snapshots {
        Snapshots::On => ("REKINDLE_SNAPSHOT", "on"),
        Snapshots::Fresh => ("REKINDLE_FRESH", "true"),
        Snapshots::Off => ("REKINDLE_SNAPSHOT", "off"),
    };
    env.push(EnvVar(wish.0.into(), wish.1.into()));
    DeployArgs {
        code: code.to_owned(),
        name: Some(name.to_owned()),
        runtime: Some(function.language.runtime().to_owned()),
        handler: Some("app.handler".to_owned()),
        memory: Some(function.memory_mb),
        timeout: Some(Span(Duration::from_secs(120))),
        env,
        fresh: false,
        common: Common {
            endpoint: client.endpoint().to_owned(),
            signing: Default::default(),
            format: Format::Json,
        },
    }
}
