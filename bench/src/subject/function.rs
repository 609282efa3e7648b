//! The functions that are measured, and how they come onto a server.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use edge_cli::functions::{Common, DeployArgs, upload};
use edge_cli::server::Server;
use edge_cli::{Client, EnvVar, ExitCode, Failure, Format, Span};
use http::Method;
use serde::Serialize;
use serde_json::Value;

use crate::failed;

const FUNCTIONS: &str = "/2015-03-31/functions";
/// How long a version's snapshot may take.
const PREPARED_WITHIN: Duration = Duration::from_secs(120);

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
    /// Path of its invocations, with the version.
    pub(crate) path: String,
    /// What the server says of its snapshot when there is none.
    pub(crate) reason: Option<String>,
}

/// Creates a function; with a snapshot as a published version.
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
    upload(client, &arguments).await?;
    let path = format!("{FUNCTIONS}/{name}");
    if snapshots == Snapshots::Off {
        return Ok(Deployed {
            path: format!("{path}/invocations"),
            reason: None,
        });
    }
    let asked = r#"{"SnapStart": {"ApplyOn": "PublishedVersions"}}"#;
    let configuration = format!("{path}/configuration");
    client
        .request(Method::PUT, &configuration, &[], asked)
        .await?;
    wait_until_settled(client, &configuration).await?;
    let versions = format!("{path}/versions");
    let published = client
        .request(Method::POST, &versions, &[], "{}")
        .await?
        .json()?;
    let version = published["Version"].as_str().unwrap_or("1").to_owned();
    let settled =
        wait_until_settled(client, &format!("{configuration}?Qualifier={version}")).await?;
    let is_on = settled["SnapStart"]["OptimizationStatus"] == "On";
    let reason = settled["StateReason"]
        .as_str()
        .unwrap_or("the server made no snapshot");
    Ok(Deployed {
        path: format!("{path}/invocations?Qualifier={version}"),
        reason: (!is_on).then(|| reason.to_owned()),
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
            format: Format::Json,
        },
    }
}

/// Its configuration, once neither creation nor update is going on.
async fn wait_until_settled(client: &Client, path: &str) -> Result<Value, Failure> {
    let deadline = Instant::now() + PREPARED_WITHIN;
    loop {
        let answer = client.request(Method::GET, path, &[], "").await?.json()?;
        let pending = answer["State"] == "Pending" || answer["LastUpdateStatus"] == "InProgress";
        if !pending {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            let seconds = PREPARED_WITHIN.as_secs();
            let text = format!("{path} was not ready after {seconds} s");
            return Err(Failure::new(ExitCode::Failed, text));
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}
