//! Which operation a request line names.

use proto_sandbox::Initialization;

const API: &str = "/2018-06-01/";

/// An operation of the Runtime API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
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
) -> Result<Route, NoRoute> {
    let captured = initialization != Initialization::OnDemand;
    let template = initialization == Initialization::Template;
    let (allowed, route) = match path {
        "/ping" | "/2018-06-01/ping" => ("GET", Route::Ping),
        _ => {
            let rest = path.strip_prefix(API).ok_or(NoRoute::NotFound)?;
            match *rest.split('/').collect::<Vec<_>>().as_slice() {
                ["runtime", "invocation", "next"] => ("GET", Route::Next),
                ["runtime", "invocation", id, "response"] => {
                    ("POST", Route::Response(id.to_owned()))
                }
                ["runtime", "invocation", id, "error"] => ("POST", Route::Error(id.to_owned())),
                ["runtime", "init", "error"] => ("POST", Route::InitError),
                ["runtime", "restore", "next"] if captured => ("GET", Route::RestoreNext),
                ["runtime", "template", "next"] if template => ("GET", Route::TemplateNext),
                ["runtime", "restore", "error"] if captured => ("POST", Route::RestoreError),
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
