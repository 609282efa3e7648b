//! What people type: arguments, output for people and for programs, exit codes.
//!
//! Commands that talk to a server ([`functions`]) know only its HTTP address; [`run`] knows
//! only the messages of a sandbox process. Nothing here links the kernel.
#![forbid(unsafe_code)]

mod args;
mod auto;
mod client;
mod connect;
pub mod demo;
pub mod doctor;
mod failure;
pub mod functions;
pub mod init;
pub mod key;
pub mod layers;
mod measure;
mod output;
mod package;
pub mod run;
pub mod server;
mod signing;
pub mod snapshots;
mod values;

pub use args::{
    ApiArgs, BenchArgs, Cli, Command, GatewayArgs, NodeArgs, NodeOptions, SandboxArgs, ServeArgs,
    SnapStart, TemplateUse,
};
pub use auto::AFFORDABLE;
pub use client::{Client, ClientError};
pub use failure::{ExitCode, Failure};
pub use measure::{Bytes, Span};
pub use output::{Format, Table};
pub use signing::SigningArgs;
pub use values::{EnvVar, MountArg, PlatformArg, RootFsArg};
