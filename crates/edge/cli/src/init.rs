//! `rekindle init`: a small function to start from.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::failure::{ExitCode, Failure};

/// Kinds of function to start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// `app.py` for the python runtimes.
    Python,
    /// `index.mjs` for the nodejs runtimes.
    Node,
    /// A shell script `bootstrap` for provided.al2023.
    Provided,
}

/// Arguments of `rekindle init`.
#[derive(Args, Clone, Debug)]
pub struct InitArgs {
    /// What to start from.
    #[arg(value_enum)]
    pub template: Template,
    /// Directory to write to; made when missing.
    #[arg(default_value = ".")]
    pub directory: PathBuf,
}

struct File {
    name: &'static str,
    text: &'static str,
    mode: u32,
}

impl Template {
    fn file(self) -> File {
        match self {
            Template::Python => File {
                name: "app.py",
                text: include_str!("../templates/app.py"),
                mode: 0o644,
            },
            Template::Node => File {
                name: "index.mjs",
                text: include_str!("../templates/index.mjs"),
                mode: 0o644,
            },
            Template::Provided => File {
                name: "bootstrap",
                text: include_str!("../templates/bootstrap"),
                mode: 0o755,
            },
        }
    }

    fn deploy_arguments(self) -> &'static str {
        match self {
            Template::Python => "--runtime python3.11 --handler app.handler",
            Template::Node => "--runtime nodejs20.x --handler index.handler",
            Template::Provided => "--runtime provided.al2023 --handler bootstrap",
        }
    }
}

/// Writes the template; never over an existing file.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn init(args: &InitArgs) -> Result<(), Failure> {
    let file = args.template.file();
    let path = args.directory.join(file.name);
    write_new(&args.directory, &path, &file).map_err(|error| {
        let failure = Failure::new(ExitCode::Failed, format!("{}: {error}", path.display()));
        if error.kind() == io::ErrorKind::AlreadyExists {
            failure.next("choose another directory, or remove the file")
        } else {
            failure
        }
    })?;
    let mut out = io::stdout().lock();
    // A closed standard output does not make the file less written.
    let _ = writeln!(
        out,
        "wrote {}\nnext: rekindle deploy {} --name hello {}",
        path.display(),
        args.directory.display(),
        args.template.deploy_arguments()
    );
    Ok(())
}

fn write_new(directory: &Path, path: &Path, file: &File) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::create_dir_all(directory)?;
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(file.mode)
        .open(path)?
        .write_all(file.text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_template_is_written_once() {
        let directory = tempfile::tempdir().unwrap();
        for template in [Template::Python, Template::Node, Template::Provided] {
            let args = InitArgs {
                template,
                directory: directory.path().join("new"),
            };
            init(&args).unwrap();
            let again = init(&args).unwrap_err().to_string();
            assert!(again.contains("next: "), "{again}");
        }
    }
}
