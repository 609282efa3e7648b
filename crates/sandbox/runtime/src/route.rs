//! Which operation a request line names.

use proto_sandbox::Initialization;

const API: &str = "/2018-06-01/";

/// An operation of the Runtime API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RuntimeRoute {
    Ping,
    Next,
    /// With the request id of the path.
    Response(String),
    /// With the request id of the path.
    Error(String),
    InitError,
    RestoreNext,
    RestoreError,
    TemplateNext,
}

/// Why a request names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoute {
    NotFound,
    /// With the method that would be right.
    Method(&'static str),
}

/// The restore routes exist only where the runtime is told that it will be captured.
pub(crate) fn find(
    initialization: Initialization,
    method: &str,
    path: &str,
) -> Result<RuntimeRoute, NoRoute> {
    let captured = initialization != Initialization::OnDemand;
    let template = initialization == Initialization::Template;
    let (allowed, route) = match path {
        "/ping" | "/2018-06-01/ping" => ("GET", RuntimeRoute::Ping),
        _ => {
            let rest = path.strip_prefix(API).ok_or(NoRoute::NotFound)?;
            match *rest.split('/').collect::<Vec<_>>().as_slice() {
                ["runtime", "invocation", "next"] => ("GET", RuntimeRoute::Next),
                ["runtime", "invocation", id, "response"] => {
                    ("POST", RuntimeRoute::Response(id.to_owned()))
                }
                ["runtime", "invocation", id, "error"] => {
                    ("POST", RuntimeRoute::Error(id.to_owned()))
                }
                ["runtime", "init", "error"] => ("POST", RuntimeRoute::InitError),
                ["runtime", "restore", "next"] if captured => ("GET", RuntimeRoute::RestoreNext),
                ["runtime", "template", "next"] if template => ("GET", RuntimeRoute::TemplateNext),
                ["runtime", "restore", "error"] if captured => ("POST", RuntimeRoute::RestoreError),
                _ => return Err(NoRoute::NotFound),
            }
        }
    };
    if method == allowed {
        Ok(route)
    } else {
        Err(NoRoute::Method(allowed))
    }
}
