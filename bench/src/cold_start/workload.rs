//! What is started, in its four forms: restored, without snapshot, natively, and as the floor.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use edge_cli::Failure;
use edge_cli::server::Server;
use tempfile::TempDir;

use crate::args::BenchArgs;
use crate::failed;
use crate::kit::Kit;
use crate::peers::floor::{Floor, Shape};
use crate::peers::native::{Native, interpreter};
use crate::processes::{Memory, mappings};
use crate::subject::{Answer, Caller, Deployed, Function, Language, Snapshots, deploy, settle};

use super::report::{Row, Workload as Told};

/// The event of every call.
const EVENT: &[u8] = br#"{"name": "Rekindle"}"#;
/// One that lasts long enough for its instance to be looked at.
const HOLD: &[u8] = br#"{"name": "Rekindle", "hold_ms": 400}"#;

pub(super) struct Workload {
    /// For programs.
    pub(super) name: &'static str,
    /// For people.
    pub(super) words: &'static str,
    language: Language,
    text: &'static str,
    /// Below the directory of packages.
    packages: Option<&'static str>,
    /// What the interpreter is told when it starts natively.
    native: [&'static str; 2],
}

pub(super) const WORKLOADS: [Workload; 4] = [
    Workload {
        name: "python_hello",
        words: "Python, hello",
        language: Language::Python,
        text: include_str!("../../functions/hello.py"),
        packages: None,
        native: ["-c", "pass"],
    },
    Workload {
        name: "python_imports",
        words: "Python, json, logging, http.client and boto3",
        language: Language::Python,
        text: include_str!("../../functions/imports.py"),
        packages: Some("python"),
        native: ["-c", "import app"],
    },
    Workload {
        name: "node_hello",
        words: "Node.js, hello",
        language: Language::Node,
        text: include_str!("../../functions/hello.js"),
        packages: None,
        native: ["-e", "0"],
    },
    Workload {
        name: "node_imports",
        words: "Node.js, express",
        language: Language::Node,
        text: include_str!("../../functions/imports.js"),
        packages: Some("nodejs"),
        native: ["-e", "require('./app')"],
    },
];

/// A workload that is ready to be started in each form.
pub(super) struct Subject<'a> {
    pub(super) server: &'a Server,
    workload: &'static Workload,
    pub(super) with: Deployed,
    pub(super) without: Deployed,
    pub(super) native: Native,
    pub(super) floor: Option<Floor>,
    shape: Option<Shape>,
    /// What the function says it has loaded.
    loaded: Option<String>,
    /// Whether any start so far was restored.
    pub(super) restores: bool,
    /// Stages of restores alone, in milliseconds.
    pub(super) stages: BTreeMap<String, Vec<f64>>,
    /// Exits of restores alone, by reason.
    pub(super) exits: BTreeMap<String, Vec<f64>>,
    pub(super) event: Bytes,
    /// Median of a start without snapshot alone.
    pub(super) alone_ms: f64,
    /// The code, where the native interpreter finds it.
    _code: TempDir,
}

impl<'a> Subject<'a> {
    /// Nothing if the machine has no interpreter for it.
    pub(super) async fn prepare(
        workload: &'static Workload,
        args: &BenchArgs,
        server: &'a Server,
        kit: &Kit,
    ) -> Result<Option<Subject<'a>>, Failure> {
        let Some(program) = interpreter(workload.language.programs()) else {
            return Ok(None);
        };
        let mut function = Function::new(workload.language, workload.text);
        let packages = workload.packages.map(|name| args.packages.join(name));
        function.packages = packages.filter(|directory| directory.is_dir());
        let code = tempfile::tempdir().map_err(|error| failed(&error))?;
        function
            .lay_out(code.path())
            .map_err(|error| failed(&error))?;
        let name = workload.name;
        let with = deploy(server, name, &function, Snapshots::Fresh).await?;
        let without = format!("{name}-without");
        let without = deploy(server, &without, &function, Snapshots::Off).await?;
        let mut subject = Subject {
            server,
            workload,
            with,
            without,
            native: Native::new(program, &workload.native, code.path()),
            floor: None,
            shape: None,
            loaded: None,
            restores: false,
            stages: BTreeMap::new(),
            exits: BTreeMap::new(),
            event: Bytes::from_static(EVENT),
            alone_ms: 0.0,
            _code: code,
        };
        subject.look(kit).await?;
        Ok(Some(subject))
    }

    /// Looks at an instance while it answers: what its floor has to do.
    async fn look(&mut self, kit: &Kit) -> Result<(), Failure> {
        // Most restores differ from the first ones, which learn what is touched.
        for _ in 0..3 {
            let mut caller = Caller::new(self.server.address(), &self.with);
            settle(self.server).await;
            let call = tokio::spawn(async move { caller.call(&Bytes::from_static(HOLD)).await });
            while !call.is_finished() {
                tokio::time::sleep(Duration::from_millis(25)).await;
                if let Some(shape) = self.shape_now() {
                    self.shape = Some(shape);
                }
            }
            let answer: Answer = call.await.map_err(|error| failed(&error))??;
            let body: serde_json::Value = answer.json()?;
            self.loaded = body["loaded"].as_str().map(str::to_owned);
        }
        if let Some(shape) = self.shape {
            self.floor = Some(Floor::start(kit, shape).map_err(|error| failed(&error))?);
        }
        Ok(())
    }

    fn shape_now(&self) -> Option<Shape> {
        let found = crate::processes::sandboxes(self.server.pid());
        let sandbox = found.iter().rfind(|sandbox| sandbox.occupied())?;
        let memory = Memory::of(&sandbox.stubs);
        let shape = Shape {
            mappings: mappings(&sandbox.stubs),
            reads: memory.clean_pages(),
            writes: memory.dirty_pages(),
        };
        (shape.mappings > 0 && shape.writes > 0).then_some(shape)
    }

    pub(super) fn report(self, rows: Vec<Row>) -> Told {
        Told {
            workload: self.workload.name,
            words: self.workload.words,
            loaded: self.loaded,
            floor: self.shape,
            no_snapshot: self.with.reason,
            stages_ms: super::report::medians(self.stages),
            exits: super::report::medians(self.exits),
            rows,
        }
    }
}
